//! narrowsd: listeners, API, control plane, composition.

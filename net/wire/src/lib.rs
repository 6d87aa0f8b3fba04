//! Frames and messages of the data plane: pure codecs.

//! The paths of all routes, in axum's notation (`{id}` is one segment; clients replace it, percent-encoded).

/// GET [`crate::server::WhoAmI`].
pub const WHOAMI: &str = "/v1/whoami";
/// GET [`crate::server::Status`].
pub const STATUS: &str = "/v1/status";
/// POST [`crate::server::DoctorRequest`] -> [`crate::server::DoctorReport`].
pub const DOCTOR: &str = "/v1/doctor";

/// POST [`crate::backups::BackupRequest`] -> [`crate::backups::BackupGrant`]; client certificate.
pub const BACKUPS: &str = "/v1/backups";
/// POST [`crate::backups::RestoreRequest`] -> [`crate::backups::RestoreGrant`]; client certificate.
pub const RESTORES: &str = "/v1/restores";

/// GET [`crate::images::ImageFilter`] -> list of [`crate::images::ImageInfo`], newest first.
pub const IMAGES: &str = "/v1/images";
/// GET [`crate::images::ImageInfo`]. The id is a UUID, a name (`/` as `%2F`), or `latest` (filters apply).
pub const IMAGE: &str = "/v1/images/{id}";
/// GET [`crate::images::BrowseQuery`] -> [`crate::images::BrowsePage`].
pub const IMAGE_BROWSE: &str = "/v1/images/{id}/browse";

/// GET with [`crate::finding::FindQuery`]: [`crate::finding::FindPage`].
pub const IMAGE_FIND: &str = "/v1/images/{id}/find";

/// GET with [`crate::finding::DiffQuery`]: [`crate::finding::DiffPage`].
pub const IMAGE_DIFF: &str = "/v1/images/{id}/diff";
/// POST [`crate::images::ReplicateRequest`] -> [`crate::images::ReplicateReply`].
pub const IMAGE_REPLICATE: &str = "/v1/images/{id}/replicate";
/// POST -> [`crate::images::VerifyReport`]: reads and checks every byte of the image.
pub const IMAGE_VERIFY: &str = "/v1/images/{id}/verify";
/// POST [`crate::expiry::ExpireRequest`] -> [`crate::expiry::ExpireReply`].
pub const IMAGE_EXPIRE: &str = "/v1/images/{id}/expire";
/// POST [`crate::expiry::UndeleteRequest`] -> [`crate::expiry::UndeleteReply`].
pub const IMAGE_UNDELETE: &str = "/v1/images/{id}/undelete";

/// POST -> [`crate::orders::OrderReply`].
pub const IMAGE_PAUSE: &str = "/v1/images/{id}/pause";
/// POST -> [`crate::orders::OrderReply`].
pub const IMAGE_RESUME: &str = "/v1/images/{id}/resume";
/// POST [`crate::orders::CancelRequest`] -> [`crate::orders::OrderReply`].
pub const IMAGE_CANCEL: &str = "/v1/images/{id}/cancel";
/// POST that images are accepted to be lost.
pub const IMAGES_ACCEPT_LOSS: &str = "/v1/images/accept-loss";
/// POST [`crate::orders::ReleaseRequest`] -> [`crate::orders::OrderReply`].
pub const IMAGE_RELEASE: &str = "/v1/images/{id}/release";
/// POST [`crate::orders::ReleaseManyRequest`] -> [`crate::orders::ReleaseManyReply`]: what failed or was cancelled, of many images.
pub const IMAGES_RELEASE: &str = "/v1/images/release";
/// GET [`crate::timeline::Timeline`].
pub const IMAGE_TIMELINE: &str = "/v1/images/{id}/timeline";
/// POST [`crate::timeline::RecallRequest`] -> [`crate::timeline::RecallReply`].
pub const IMAGES_RECALL: &str = "/v1/images/recall";
/// POST [`crate::orders::BackfillRequest`] -> [`crate::orders::BackfillReply`]: many images to one partner.
pub const IMAGES_REPLICATE: &str = "/v1/images/replicate";

/// GET list of [`crate::slps::SlpInfo`] · POST [`crate::slps::ApplyRequest`] -> [`crate::slps::ApplyReply`].
pub const SLPS: &str = "/v1/slps";
/// GET [`crate::slps::SlpInfo`].
pub const SLP: &str = "/v1/slps/{name}";
/// POST [`crate::slp_orders::HoldRequest`] -> [`crate::slps::SlpInfo`]: pauses or defers.
pub const SLP_HOLD: &str = "/v1/slps/{name}/hold";
/// POST -> [`crate::slps::SlpInfo`].
pub const SLP_RESUME: &str = "/v1/slps/{name}/resume";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::slp_orders::DeleteReply`].
pub const SLP_DELETE: &str = "/v1/slps/{name}/delete";
/// POST [`crate::slp_orders::MigrateRequest`] -> [`crate::slp_orders::MigrateReply`].
pub const SLP_MIGRATE: &str = "/v1/slps/{name}/migrate";

/// GET list of [`crate::pools::PoolInfo`] · POST [`crate::pools::PoolRequest`] -> [`crate::pools::PoolInfo`]: makes one.
pub const POOLS: &str = "/v1/pools";
/// GET [`crate::pools::PoolInfo`] · POST [`crate::pools::PoolChange`] -> the same.
pub const POOL: &str = "/v1/pools/{name}";
/// POST -> [`crate::pools::PoolInfo`]: one that could not be opened, or that a failed write has stopped.
pub const POOL_OPEN: &str = "/v1/pools/{name}/open";
/// GET [`crate::pools::VolumeInfo`]s.
pub const VOLUMES: &str = "/v1/volumes";
/// GET [`crate::damage::DamageInfo`].
pub const POOL_DAMAGE: &str = "/v1/pools/{name}/damage";
/// POST [`crate::damage::ScrubRequest`] -> [`crate::damage::DamageOrder`].
pub const POOL_SCRUB: &str = "/v1/pools/{name}/scrub";
/// POST [`crate::damage::HealRequest`] -> [`crate::damage::DamageOrder`].
pub const POOL_HEAL: &str = "/v1/pools/{name}/heal";
/// GET list of [`crate::policies::PolicyInfo`] · POST [`crate::policies::ApplyRequest`] -> [`crate::policies::ApplyReply`].
pub const POLICIES: &str = "/v1/policies";
/// GET [`crate::policies::PolicyInfo`].
pub const POLICY: &str = "/v1/policies/{name}";
/// POST -> [`crate::policies::PolicyInfo`]: its runs wait.
pub const POLICY_PAUSE: &str = "/v1/policies/{name}/pause";
/// POST -> [`crate::policies::PolicyInfo`].
pub const POLICY_RESUME: &str = "/v1/policies/{name}/resume";
/// POST [`crate::policies::RunRequest`] -> list of [`crate::policies::RunInfo`].
pub const POLICY_RUN: &str = "/v1/policies/{name}/run";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::storage::RemoveReply`].
pub const POLICY_DELETE: &str = "/v1/policies/{name}/delete";

/// POST [`crate::agent::NextRequest`] -> [`crate::agent::RunOrder`] or `null`; client certificate.
pub const AGENT_NEXT: &str = "/v1/agent/next";
/// POST [`crate::agent::RunWork`]: it is still worked on; client certificate.
pub const AGENT_BEAT: &str = "/v1/agent/beat";
/// POST [`crate::agent::EndRequest`]; client certificate.
pub const AGENT_END: &str = "/v1/agent/end";
/// GET [`crate::agent::Selection`] of a policy that names the caller; client certificate.
pub const AGENT_POLICY: &str = "/v1/agent/policies/{name}";

/// GET list of [`crate::storage::UnitInfo`] · POST [`crate::storage::UnitRequest`] -> [`crate::storage::UnitInfo`].
pub const STORAGE_UNITS: &str = "/v1/storage-units";
/// GET list of [`crate::storage::GroupInfo`] · POST [`crate::storage::GroupRequest`] -> [`crate::storage::GroupInfo`].
pub const STORAGE_UNIT_GROUPS: &str = "/v1/storage-unit-groups";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::storage::RemoveReply`], for a unit or a group.
pub const STORAGE_REMOVE: &str = "/v1/storage-units/{name}/remove";
/// GET list of [`crate::storage::TargetInfo`] · POST [`crate::storage::TargetRequest`] -> [`crate::storage::TargetInfo`].
pub const TARGETS: &str = "/v1/targets";
/// POST [`crate::storage::RemoveTargetRequest`] -> [`crate::storage::RemoveReply`].
pub const TARGET_REMOVE: &str = "/v1/targets/remove";
/// GET list of [`crate::storage::ClassificationInfo`] · POST one -> the same.
pub const CLASSIFICATIONS: &str = "/v1/classifications";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::storage::RemoveReply`].
pub const CLASSIFICATION_REMOVE: &str = "/v1/classifications/{name}/remove";
/// GET list of [`crate::windows::WindowInfo`] · POST [`crate::windows::WindowRequest`] -> [`crate::windows::WindowInfo`].
pub const WINDOWS: &str = "/v1/windows";
/// GET [`crate::windows::WindowInfo`].
pub const WINDOW: &str = "/v1/windows/{name}";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::storage::RemoveReply`].
pub const WINDOW_REMOVE: &str = "/v1/windows/{name}/remove";

/// GET list of [`crate::domains::DomainInfo`].
pub const DOMAINS: &str = "/v1/domains";
/// GET [`crate::domains::DomainInfo`], by name or UUID.
pub const DOMAIN: &str = "/v1/domains/{name}";
/// POST [`crate::domains::InviteRequest`] -> [`crate::domains::InviteReply`].
pub const DOMAIN_INVITE: &str = "/v1/domains/invite";
/// POST [`crate::domains::PairRequest`] -> [`crate::domains::DomainInfo`].
pub const DOMAIN_PAIR: &str = "/v1/domains/pair";

/// POST -> [`crate::domains::DomainInfo`]: work for it waits.
pub const DOMAIN_PAUSE: &str = "/v1/domains/{name}/pause";
/// POST -> [`crate::domains::DomainInfo`].
pub const DOMAIN_RESUME: &str = "/v1/domains/{name}/resume";
/// POST [`crate::domains::LimitRequest`] -> [`crate::domains::DomainInfo`].
pub const DOMAIN_LIMIT: &str = "/v1/domains/{name}/limit";
/// POST [`crate::domains::ReceiveUnitRequest`] -> [`crate::domains::DomainInfo`].
pub const DOMAIN_RECEIVE: &str = "/v1/domains/{name}/receive";
/// POST [`crate::domains::DialRequest`], answered with the domain.
pub const DOMAIN_DIAL: &str = "/v1/domains/{name}/dial";
/// POST [`crate::domains::GrantRequest`] -> [`crate::domains::DomainInfo`].
pub const DOMAIN_GRANT: &str = "/v1/domains/{name}/grant";
/// POST [`crate::domains::UnpairRequest`] -> [`crate::domains::UnpairReply`].
pub const DOMAIN_UNPAIR: &str = "/v1/domains/{name}/unpair";
/// POST [`crate::domains::DecideRequest`] -> [`crate::domains::DecideReply`]: who answers now is the right one.
pub const DOMAIN_DECIDE: &str = "/v1/domains/{name}/decide";
/// GET [`crate::topology::Topology`].
pub const TOPOLOGY: &str = "/v1/topology";
/// GET [`crate::topology::ReplicaQuery`] -> list of [`crate::topology::ReplicaLine`].
pub const REPLICAS: &str = "/v1/replicas";
/// POST [`crate::holdings::CheckRequest`] -> list of [`crate::holdings::CheckReply`].
pub const REPLICAS_CHECK: &str = "/v1/replicas/check";
/// GET [`crate::holdings::UnknownQuery`] -> [`crate::holdings::UnknownReplicas`]: partners are asked.
pub const REPLICAS_UNKNOWN: &str = "/v1/replicas/unknown";
/// GET list of [`crate::certificates::CertificateInfo`].
pub const CERTIFICATES: &str = "/v1/certificates";
/// POST [`crate::certificates::RenewRequest`] -> list of [`crate::certificates::CertificateInfo`].
pub const CERTIFICATES_RENEW: &str = "/v1/certificates/renew";
/// GET Prometheus' text.
pub const METRICS: &str = "/metrics";
/// GET [`crate::holdings::CatalogInfo`].
pub const CATALOG: &str = "/v1/catalog";
/// POST [`crate::holdings::ReconcileRequest`] -> [`crate::holdings::CatalogInfo`].
pub const CATALOG_RECONCILE: &str = "/v1/catalog/reconcile";

/// GET list of [`crate::media_servers::MediaServerInfo`], the primary's own first.
pub const MEDIA_SERVERS: &str = "/v1/media-servers";
/// POST [`crate::media_servers::InviteServerRequest`] -> [`crate::media_servers::InviteServerReply`].
pub const MEDIA_SERVER_INVITE: &str = "/v1/media-servers/invite";
/// POST [`crate::media_servers::DrainRequest`] -> [`crate::media_servers::MediaServerInfo`].
pub const MEDIA_SERVER_DRAIN: &str = "/v1/media-servers/{name}/drain";
/// POST [`crate::storage::RemoveRequest`] -> [`crate::storage::RemoveReply`].
pub const MEDIA_SERVER_REMOVE: &str = "/v1/media-servers/{name}/remove";
/// POST [`crate::media_servers::JoinRequest`] -> [`crate::media_servers::JoinReply`]; the token is the authority.
pub const MEDIA_SERVER_JOIN: &str = "/v1/media-servers/join";
/// POST [`crate::media_servers::RenewServerRequest`] -> [`crate::media_servers::RenewServerReply`], by a media server.
pub const MEDIA_SERVER_RENEW: &str = "/v1/media/renew";
/// POST a question of a data session of a media server's, to the primary.
pub const MEDIA_ASK: &str = "/v1/media/ask";
/// POST how things stand, by the primary to a media server.
pub const MEDIA_STAND: &str = "/v1/media/stand";
/// POST a pool that is to be made, by the primary to a media server.
pub const MEDIA_POOLS: &str = "/v1/media/pools";
/// POST an order to one pool, by the primary to a media server.
pub const MEDIA_POOL: &str = "/v1/media/pools/{id}";
/// POST that one is to be opened which could not be, or anew, by the primary to a media server; answered when it is open.
pub const MEDIA_POOL_OPEN: &str = "/v1/media/pools/{id}/open";
/// POST an image that is to be sent, by the primary to a media server; answered when that is over.
pub const MEDIA_SEND: &str = "/v1/media/send";
/// POST on a media server: what an image lacks in a pool there is brought; the answer is how that ended.
pub const MEDIA_MEND: &str = "/v1/media/mend";

/// GET list of [`crate::clients::ClientInfo`].
pub const CLIENTS: &str = "/v1/clients";
/// POST [`crate::clients::TokenRequest`] -> [`crate::clients::TokenReply`].
pub const CLIENT_TOKENS: &str = "/v1/clients/tokens";
/// POST [`crate::clients::RenewRequest`] -> [`crate::clients::EnrollReply`]; client certificate.
pub const CLIENT_RENEW: &str = "/v1/clients/renew";
/// GET [`crate::clients::ClientInfo`], by name.
pub const CLIENT: &str = "/v1/clients/{name}";
/// POST [`crate::clients::RenameRequest`] -> [`crate::clients::ClientInfo`].
pub const CLIENT_RENAME: &str = "/v1/clients/{name}/rename";
/// POST -> [`crate::clients::TokenReply`]: a line that gives a client another certificate.
pub const CLIENT_REPLACE: &str = "/v1/clients/{name}/replace";
/// POST -> [`crate::clients::ClientInfo`]: none of its certificates is believed any more.
pub const CLIENT_REVOKE: &str = "/v1/clients/{name}/revoke";
/// POST [`crate::clients::GrantRequest`] -> [`crate::clients::ClientInfo`].
pub const CLIENT_GRANT: &str = "/v1/clients/{name}/grant";
/// POST [`crate::clients::EnrollRequest`] -> [`crate::clients::EnrollReply`]; the token is the authority.
pub const CLIENT_ENROLL: &str = "/v1/clients/enroll";

/// GET [`crate::jobs::JobFilter`] -> list of [`crate::jobs::JobInfo`], newest first.
pub const JOBS: &str = "/v1/jobs";
/// GET [`crate::jobs::JobQuery`] -> [`crate::jobs::JobInfo`].
pub const JOB: &str = "/v1/jobs/{id}";
/// GET list of [`crate::jobs::ImportInfo`], newest first.
pub const IMPORTS: &str = "/v1/imports";
/// POST [`crate::orders::RetryRequest`] -> list of [`crate::jobs::ImportInfo`] as they stand now, by image; of all it is a
/// portion, and empty behind the last one.
pub const IMPORTS_RETRY: &str = "/v1/imports/retry";

/// GET [`crate::events::EventQuery`] -> list of [`crate::events::EventInfo`], newest first.
pub const EVENTS: &str = "/v1/events";

/// GET [`crate::audit::AuditQuery`] -> list of [`crate::audit::AuditInfo`], newest first.
pub const AUDIT: &str = "/v1/audit";

/// GET list of [`crate::server::Finding`]: what is amiss by what is known here, worst first.
pub const PROBLEMS: &str = "/v1/problems";

/// POST [`crate::partner::Introduction`] -> [`crate::partner::Introduction`]; the token is the authority.
pub const PARTNER_PAIR: &str = "/v1/partner/pair";
/// POST -> [`crate::partner::Pong`]: both certificates have proved themselves; the pairing is complete.
pub const PARTNER_CONFIRM: &str = "/v1/partner/confirm";
/// GET [`crate::partner::Pong`].
pub const PARTNER_PING: &str = "/v1/partner/ping";
/// GET [`crate::partner::Reached`]: whether the answering side reaches the caller's data port.
pub const PARTNER_REACH: &str = "/v1/partner/reach";
/// POST [`crate::partner::ReceiveRequest`] -> [`crate::partner::ReceiveGrant`].
pub const PARTNER_RECEIVE: &str = "/v1/partner/receive";
/// POST: what the caller lacks of an image may be read here (grant `heal`).
pub const PARTNER_LEND: &str = "/v1/partner/lend";
/// GET [`crate::partner::PartnerSlp`].
pub const PARTNER_SLP: &str = "/v1/partner/slps/{name}";
/// GET list of names: SLPs of the answering side whose images the caller imports through its SLP of this name.
pub const PARTNER_SLP_USES: &str = "/v1/partner/slps/{name}/uses";
/// POST [`crate::timeline::TimelineQuestion`] -> [`crate::timeline::Told`]: what happened to an image of the caller's, here and in
/// the domains that it went on to (grant `status`).
pub const PARTNER_TIMELINE: &str = "/v1/partner/images/{id}/timeline";
/// POST [`crate::timeline::PartnerRecall`] -> [`crate::timeline::RecallReply`] (grant `recall`).
pub const PARTNER_RECALL: &str = "/v1/partner/recall";
/// GET [`crate::holdings::HoldingsQuery`] -> [`crate::holdings::Holdings`]: what is held for the caller (grant `status`).
pub const PARTNER_HOLDINGS: &str = "/v1/partner/holdings";
/// POST [`crate::partner::Confirmation`]: an image that the caller was sent is in its catalog, or is not and why.
pub const PARTNER_IMPORTS: &str = "/v1/partner/imports";

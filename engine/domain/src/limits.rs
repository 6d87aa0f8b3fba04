//! Every bound of the control plane, with the reason beside it.

use std::time::Duration;

/// An image from the future by more than this waits with reason `clock` (AIR-001).
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(2);
/// An image from the future by more than this is a failed import: a forged date must not pin space (AIR-011).
pub const CLOCK_FORGED_MIN: Duration = Duration::from_hours(24);
/// By so much a measured skew may be wrong: the way there and back counts.
pub const SKEW_SLACK: Duration = Duration::from_mins(1);
/// A clock that goes back by this or more was set.
pub const CLOCK_BACK_MIN: Duration = Duration::from_secs(1);
/// How often what the clock says is noted: a start does not know of less by which it was set back.
pub const CLOCK_NOTED_EVERY: Duration = Duration::from_mins(1);
/// First pause before something that failed is tried again.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Batches of operations that are looked at in one turn of a partner; the rest follow with the next tick.
pub const TURN_PARTS_MAX: u32 = 16;
/// How many that wait behind a barrier, and are held by something else as well, leave its try to the next one per tick.
pub const HELD_PASSED_MAX: u32 = 64;
/// Images that are planned anew in one transaction when they go on under another version of their policy.
pub const REPLANNED_AT_ONCE: u32 = 100;
/// Longest pause between two tries, jitter included.
pub const RETRY_MAX: Duration = Duration::from_mins(10);
/// A partner that took nothing, then something, and takes nothing again within this is asked with pauses that go on growing.
pub const REFUSAL_CALM: Duration = Duration::from_hours(1);
/// A failed import's data is kept this long; then the source is told to send again once mended.
pub const FAILED_IMPORT_KEEP: Duration = Duration::from_hours(168);
/// An expired or deleted copy of an image of this domain can be brought back for so long.
pub const UNDELETE_OWN: Duration = Duration::from_hours(24);
/// The same for an image of another domain: an attacker over there shall not be able to hurry it.
pub const UNDELETE_FOREIGN: Duration = Duration::from_hours(168);
/// A copy whose time has come, and that something still needs, is looked at again after this, if nothing says
/// earlier that the need is over.
pub const KEPT_LOOK: Duration = Duration::from_hours(6);
/// Arrivals that were refused at their commit are remembered, the newest so many of each sender.
pub const REFUSALS_KEPT: u32 = 100;
/// What was refused at its commit is a problem, and open, for so long.
pub const REFUSAL_SHOWN: Duration = Duration::from_hours(168);
/// What a broken transfer staged is kept this long; an unfinished backup can be resumed within it.
pub const STAGING_KEEP: Duration = Duration::from_hours(168);
/// An import that is pending longer than this is a problem worth a notification.
pub const PENDING_IMPORT_MAX: Duration = Duration::from_hours(24);
/// A report or an amendment that nobody answered is sent again after this.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// A partner that acknowledged an image and then said nothing of its import for so long is sent it
/// again, which moves no data and makes it say it.
pub const RESEND_AFTER: Duration = Duration::from_hours(1);
/// What only the partner can mend is tried so often with growing pauses, and each [`RESEND_AFTER`] from then on.
pub const TRIED_SOON_MAX: u32 = 6;
/// An image that a partner was asked for may come home for so long; later it has to be asked for again.
pub const RECALL_OPEN: Duration = Duration::from_hours(30 * 24);
/// Replica records that are compared with a partner's list in one transaction; copies and arrivals that are lost in one.
pub const COMPARED_AT_ONCE: u32 = 500;
/// A copy whose time has come while the catalog is compared with its pools and partners is looked at again after this.
pub const RECONCILE_LOOK: Duration = Duration::from_mins(1);
/// So often in a row a duplication waits for the log of a pool that may have its copy, some hours, before another pool takes it.
pub const UNREAD_LOOKS: u32 = 50;
/// What a pool that takes no orders just now is owed, a removal or an amendment, is looked at again after this.
pub const SHUT_LOOK: Duration = Duration::from_mins(10);
/// Words about one arrival that a domain tells between two times that its catalog is put back.
pub const REVISIONS_OF_A_LIFE: u32 = 1 << 16;
/// Images replicated to one partner at the same time unless the partner says otherwise.
pub const RUNNING_PER_PARTNER: u32 = 4;
/// Highest weight of a replication target among those of its pool.
pub const WEIGHT_MAX: u32 = 1000;
/// Images duplicated from pool to pool at the same time.
pub const DUPLICATIONS_MAX: u32 = 4;
/// What failed for want of room within a partner's quota is looked at again so seldom, however many of its copies go.
pub const FREED_LOOK: Duration = Duration::from_mins(1);
/// Import SLPs that are made by themselves for one partner.
pub const AUTO_SLPS_MAX: usize = 20;
/// A copy counts as so many bytes at most where copies are summed up, so that no sum overflows.
pub const COUNTED_BYTES_MAX: u64 = 1 << 50;
/// A one-time token is forgotten so long after its end, when another one is made: the clock may have been ahead meanwhile.
pub const TOKENS_KEPT: Duration = Duration::from_hours(24);
/// Rows of what was read of images by the right `restore-any`, of each reader: each way of reading an image counts once a day.
pub const READS_KEPT: u32 = 10_000;
/// Clients that one backup policy names.
pub const CLIENTS_PER_POLICY_MAX: usize = 256;
/// Paths that one backup policy names, and patterns that it leaves out.
pub const PATHS_PER_POLICY_MAX: usize = 256;
/// Schedules of one backup policy.
pub const SCHEDULES_PER_POLICY_MAX: usize = 32;
/// Dates in each list of a schedule, and lines of its window.
pub const DATES_PER_SCHEDULE_MAX: usize = 400;
/// Words of a hook.
pub const HOOK_WORDS_MAX: usize = 64;
/// Longest time that a hook may be given.
pub const HOOK_TIME_MAX: Duration = Duration::from_hours(24);
/// Shortest pause between two due times of a schedule.
pub const EVERY_MIN: Duration = Duration::from_mins(1);
/// How often a run may be tried again within its window.
pub const RETRIES_MAX: u32 = 100;
/// Runs of one policy, schedule and client that have ended are kept so long.
pub const RUNS_KEPT: Duration = Duration::from_hours(90 * 24);
/// So many of them are kept however old they are: among them is what a clock that ran ahead has left.
pub const RUNS_KEPT_MIN: usize = 16;
/// No more of them are kept, however young they are.
pub const RUNS_KEPT_MAX: usize = 5000;
/// An agent that works on a run and was not heard of for so long has lost it.
pub const RUN_SILENT_MAX: Duration = Duration::from_mins(1);
/// A run that a person asked for waits so long for its client.
pub const ORDERED_RUN_WAIT: Duration = Duration::from_hours(24);
/// A due time further ahead than this was made by a clock that ran ahead, and does not count: local time is at most
/// 14 hours ahead of UTC.
pub const SLOT_AHEAD_MAX: Duration = Duration::from_hours(24);
/// So long ahead it is told that a domain loses its last copy of an image that lives on elsewhere.
pub const LEAVING_TOLD: Duration = Duration::from_hours(7 * 24);
/// How often the room of a pool is noted.
pub const ROOM_NOTED_EVERY: Duration = Duration::from_hours(1);
/// For how long it is remembered.
pub const ROOM_NOTED_FOR: Duration = Duration::from_hours(30 * 24);
/// A pool has to be watched for so long before it is said when it will be full.
pub const FORECAST_SPAN_MIN: Duration = Duration::from_hours(24);
/// What is further ahead is not foretold.
pub const FORECAST_AHEAD_MAX: Duration = Duration::from_hours(10 * 365 * 24);
/// A pool that is full within this is amiss.
pub const FULL_TOLD: Duration = Duration::from_hours(14 * 24);
/// High water of a pool in parts of a hundred of its disk, unless it is set: above it nothing new begins.
pub const HIGH_WATER: u8 = 99;
/// Low water: so far down copies go that are kept for as long as there is room.
pub const LOW_WATER: u8 = 80;
/// Copies that are looked at together for the room that they take.
pub const ROOM_LOOK: u32 = 100;
/// How often that is done in one turn; the next turn goes on behind it.
pub const ROOM_LOOKS: u32 = 5;
/// A pool in which too little may go is looked through again after this.
pub const ROOM_REST: Duration = Duration::from_mins(10);
/// Partners of one domain.
pub const PARTNERS_MAX: usize = 32;
/// Servers of one partner whose starts are watched.
pub const SERVERS_PER_PARTNER_MAX: usize = 64;
/// Certificates of one client that are believed at once beside its newest.
pub const STILL_BELIEVED_MAX: usize = 8;
/// A client that has so many gets another one when its newest is as old as this, in seconds.
pub const CROWDED_RENEWAL_SECONDS: i64 = 86_400;
/// Pools of one domain.
pub const POOLS_MAX: usize = 32;
/// Media servers that join one domain, beside the primary's own process.
pub const MEDIA_SERVERS_MAX: usize = 31;
/// Operations that are looked at again when a pool is well again; the others look by themselves.
pub const STIRRED_MAX: u32 = 1000;
/// Images that are named as referring to an SLP; of more it is said that there are others.
pub const REFERENCES_NAMED_MAX: u32 = 1000;
/// Backup operations in one SLP (SLP-003).
pub const BACKUPS_PER_SLP_MAX: usize = 4;
/// Operations in one SLP.
pub const OPERATIONS_PER_SLP_MAX: usize = 64;
/// Bytes of an SLP's text.
pub const SLP_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an SLP's name, or an import SLP's, that takes part in replication (SLP-008).
pub const REPLICATED_NAME_BYTES_MAX: usize = 112;
/// Bytes of any other name: SLP, storage unit, window, client, partner, operation.
pub const NAME_BYTES_MAX: usize = 255;
/// Highest priority of an SLP.
pub const PRIORITY_MAX: u32 = 99_999;
/// Priority of an SLP that names none.
pub const PRIORITY_DEFAULT: u32 = 50_000;
/// Longest retention that can be written down: 1,000 years of 365 days.
pub const PERIOD_MAX: Duration = Duration::from_hours(1000 * 365 * 24);
/// Due imports, reports, probes and amendments that one tick takes up; the rest follow with the next.
pub const DUE_PER_TICK: u32 = 256;
/// Seconds tried after a taken one before an image's identity is given up.
pub const IDENTITY_SECONDS_MAX: i64 = 900;
/// Newest recipe format that this server can restore (AIR-007).
pub const IMAGE_FORMAT_MAX: u16 = 1;

const _: () = assert!(RETRY_FIRST.as_secs() < RETRY_MAX.as_secs());
const _: () = assert!(CLOCK_AHEAD_MAX.as_secs() < CLOCK_FORGED_MIN.as_secs());
const _: () = assert!(REPLICATED_NAME_BYTES_MAX < NAME_BYTES_MAX);

/// Passes over a pool that are remembered.
pub const SCRUB_PASSES_KEPT: u64 = 10;

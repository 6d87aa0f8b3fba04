//! Every bound of the server that is not the pool's or the protocol's.

use std::time::Duration;

/// Most images of one pool that are named as hurt at once; the others are found when these are whole.
pub const HURT_TOLD_MAX: usize = 10_000;
/// Longest code that another server may say.
pub const CODE_BYTES_MAX: usize = 16;
/// Most letters that are taken of a sentence of another server.
pub const SENTENCE_LETTERS_MAX: usize = 400;
/// Most letters of each part of an error that another server answers with.
pub const ERROR_LETTERS_MAX: usize = 2000;
/// Most API connections at once; more wait in the kernel.
pub const API_CONNECTIONS_MAX: usize = 512;
/// Connections at once to the socket in the data folder.
pub const LOCAL_CONNECTIONS_MAX: usize = 16;
/// A connection of the API without the head of a request, or a sign of life, is closed after this.
pub const API_IDLE_MAX: Duration = Duration::from_mins(1);
/// A TLS handshake of the API ends within this, or is dropped.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection that was refused in its handshake stays so long for its reason to be heard.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(1);
/// And is read from so often, a kibibyte at a time.
pub const LINGER_READS_MAX: usize = 64;
/// Answers of a partner's API come within this.
pub const PARTNER_TIME_MAX: Duration = Duration::from_secs(15);
/// Whether who asks is reached is known within this, so that the answer still comes within [`PARTNER_TIME_MAX`].
pub const REACH_TIME_MAX: Duration = Duration::from_secs(10);
/// Where a name leads is known within this, or not at all.
pub const LOOK_UP_TIME_MAX: Duration = Duration::from_secs(2);
/// A request that was never on its connection is sent again so often.
pub const UNSENT_TRIES_MAX: u32 = 4;
/// A connection to a partner's API that is not used is closed after this.
pub const PARTNER_IDLE_MAX: Duration = Duration::from_secs(30);
/// Largest answer of a partner's API in bytes.
pub const PARTNER_BODY_BYTES_MAX: usize = 1 << 20;
/// Requests to the control task that may wait.
pub const CONTROL_MAILBOX: usize = 256;
const _: () = assert!(PARTNER_IDLE_MAX.as_secs() < API_IDLE_MAX.as_secs());
/// Orders to the data plane that may wait.
pub const PLANE_MAILBOX: usize = 256;
/// Commands of the domain that wait to be carried out.
pub const COMMANDS_MAX: usize = 4096;
/// Life of the CA certificate.
pub const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// Life of server, client and administrator certificates.
pub const CERTIFICATE_LIFE: Duration = Duration::from_hours(2 * 365 * 24);
/// A certificate begins so long before it is made: clocks differ, and one that is a day behind is told so by AIR-011, not
/// by a certificate that is not valid yet.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_hours(48);
/// Life of an invitation when none is asked for.
pub const INVITATION_LIFE: Duration = Duration::from_hours(24);
/// Life of a data ticket that is not used.
pub const TICKET_LIFE: Duration = Duration::from_mins(15);
/// Connections that a domain which only dials keeps parked, idle, at each of its partners.
pub const PARKED_SPARE: usize = 3;
/// Idle connections that one partner may have parked here.
pub const PARKED_PER_PARTNER_MAX: usize = 8;
const _: () = assert!(PARKED_SPARE < PARKED_PER_PARTNER_MAX);
const _: () =
    assert!(narrows_domain::limits::PARTNERS_MAX * PARKED_PER_PARTNER_MAX * 2 <= API_CONNECTIONS_MAX);
/// Connections to one partner that were parked there, idle or called, at once.
pub const CALLED_MAX: usize = 64;
/// A parked connection gives a sign of life this often.
pub const PARKED_BEAT: Duration = Duration::from_secs(15);
/// One without a sign of life for so long is none.
pub const PARKED_SILENT_MAX: Duration = Duration::from_secs(45);
/// Who calls a partner that dials in waits so long for it to have parked something.
pub const CALL_WAIT: Duration = Duration::from_secs(8);
/// A parked connection that is called is given within this.
pub const CALL_ANSWER_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(CALL_WAIT.as_secs() + CALL_ANSWER_MAX.as_secs() < PARTNER_TIME_MAX.as_secs());
/// How often it is looked which partners are to be dialled.
pub const KEEP_LOOK: Duration = Duration::from_secs(1);
/// What could not be parked is tried again after this, at first and at most.
pub const KEEP_RETRY_MIN: Duration = Duration::from_millis(500);
/// See [`KEEP_RETRY_MIN`].
pub const KEEP_RETRY_MAX: Duration = Duration::from_secs(30);
/// Tickets that may be out at once.
pub const TICKETS_MAX: usize = 4096;
/// Of these, for what one client was allowed and has not begun.
pub const CLIENT_TICKETS_MAX: usize = 256;
/// Of these, for images that one partner announced and has not begun to bring.
pub const RECEIVE_TICKETS_MAX: usize = 256;
/// Least memory that a server runs with, in bytes.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Memory when none is said, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// How long a stopping server waits for open requests.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// Buffers for making a pool, in bytes.
pub const INIT_ARENA_BYTES: usize = 4 << 20;
/// How often a held-back answer looks whether its job has ended.
pub const JOB_POLL: Duration = Duration::from_millis(50);
/// Newest runs that are shown with a policy.
pub const RUNS_LISTED_MAX: u32 = 20;
/// Newest runs of a policy among which it is looked for those that were not made.
pub const RUNS_JUDGED_MAX: u32 = 1000;
/// Imports in one answer, unless more are asked for.
pub const IMPORTS_LISTED_MAX: u32 = 1000;
/// Most replicas that are counted before a partner is parted with.
pub const REPLICAS_COUNTED_MAX: u32 = 1000;
/// The catalog is marked this often while there is news.
pub const MARK_EVERY: Duration = Duration::from_mins(1);
/// A partner is asked what it holds for us this often.
pub const COMPARE_EVERY: Duration = Duration::from_hours(24);
/// The same after it could not be asked.
pub const COMPARE_RETRY: Duration = Duration::from_mins(10);
/// Images of which no replica is known here in one answer.
pub const UNKNOWN_LISTED_MAX: usize = 10_000;
/// Images in one page of what we hold for a partner.
pub const HOLDINGS_PAGE: u32 = 1000;
/// Problems of one kind that are listed, unless more are asked for.
pub const PROBLEMS_LISTED: u32 = 100;
/// Most problems of one kind, or imports, that are listed at once.
pub const LISTED_MAX: u32 = 20_000;
/// The control task looks around at least this often.
pub const TICK_MAX: Duration = Duration::from_hours(1);
/// What is due by itself waits so long at most for orders to run out.
pub const TICK_LATE_MAX: Duration = Duration::from_secs(1);
/// Pause after the catalog failed.
pub const TICK_RETRY: Duration = Duration::from_secs(1);
/// First and longest pause before an event that the catalog could not take in is told again.
pub const TELL_PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`TELL_PAUSE_MIN`].
pub const TELL_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Images that a back-fill orders in one transaction.
pub const BACKFILL_AT_ONCE: usize = 128;
/// Images that a back-fill looks up at once.
pub const BACKFILL_PAGE: u32 = 1000;
/// Days for which the offsets of windows' zones are known ahead.
pub const ZONE_DAYS_AHEAD: i64 = 5 * 365;
/// How often windows' zones are looked up again.
pub const ZONE_RENEWAL: Duration = Duration::from_hours(24);
/// Lines of one window's grid, and dates on which it stays shut.
pub const WINDOW_LINES_MAX: usize = 64;
/// See [`WINDOW_LINES_MAX`].
pub const WINDOW_DATES_MAX: usize = 1000;
/// Most runs that a timeline tells.
pub const TIMELINE_JOBS_MAX: u32 = 1000;
/// Most steps that a partner is told, or is believed.
pub const TIMELINE_STEPS_MAX: usize = 1000;
/// A partner is asked so long for its part of a timeline.
pub const TIMELINE_TIME_MAX: Duration = Duration::from_secs(12);
/// Whoever is asked on has so much less, so that its answer is back in time; this bounds how far a question goes, too.
pub const TIMELINE_TIME_STEP: Duration = Duration::from_secs(2);
/// Partners' questions for timelines that are answered at once.
pub const TIMELINE_QUESTIONS_MAX: usize = 8;
/// Most domains that a question for a timeline names.
pub const TIMELINE_DOMAINS_MAX: usize = 256;
/// Most letters of a domain's name, a state or a title that are taken of a partner's part of a timeline.
pub const TIMELINE_NAME_LETTERS_MAX: usize = 80;
/// Most letters of what was asked for that are noted of a read by `restore-any`.
pub const AUDIT_LETTERS_MAX: usize = 1000;
/// What a target that was idle may be sent at once, as time at its rate.
pub const PACE_BURST: Duration = Duration::from_millis(100);
/// What waits for bandwidth looks this often whether the rate is another.
pub const PACE_SLICE: Duration = Duration::from_millis(250);
/// Arrivals that wait for a proof, read at once.
pub const UNPROVEN_AT_ONCE: u32 = 256;
/// Whose turn it is to leave a pool and who does not come for it in this time is passed by others.
pub const PACE_LATE: Duration = Duration::from_millis(50);
// What is lost until then is made up for by the burst.
const _: () = assert!(PACE_LATE.as_millis() < PACE_BURST.as_millis());
/// Image log records read at once.
pub const EVENTS_AT_ONCE: usize = 64;
/// Tasks of the control plane that wait to be woken on behalf of data threads.
pub const WAKERS_MAX: usize = 4096;
/// Questions of the data plane that may wait.
pub const QUESTIONS_MAX: usize = 256;
/// Incoming sessions of one core at once; more are refused. Fewer, where its arena has less than 32 MiB.
pub const SESSIONS_PER_CORE_MAX: usize = 64;
/// Pause after a data connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Broken replications that a core remembers, to count what is sent again.
pub const HISTORIES_MAX: usize = 64;
/// Lives of partners that wait to be looked at.
pub const LIVES_WAITING_MAX: usize = 64;
/// So long a request may be on its way after the server that sent it has ended; longer than any is waited for.
pub const REQUEST_ON_ITS_WAY_MAX: Duration = Duration::from_mins(2);
/// With a program to be told of problems, they are looked at this often.
pub const ALERT_EVERY: Duration = Duration::from_secs(15);
/// It is run for so many of them at most each time; the others have their turn the next time.
pub const ALERTS_AT_ONCE: usize = 10;
/// It is ended after this.
pub const ALERT_TIME_MAX: Duration = Duration::from_secs(10);
/// A partner that could not be told where this server is is told again after this, then after twice as long.
pub const WHEREABOUTS_RETRY: Duration = Duration::from_secs(15);
/// At most.
pub const WHEREABOUTS_RETRY_MAX: Duration = Duration::from_mins(10);
/// A partner that is half-paired is asked again this often.
pub const PAIRING_RETRY: Duration = Duration::from_secs(15);
/// Partners that could not be asked of an SLP's targets when it was stored are asked again this often.
pub const VERIFY_EVERY: Duration = Duration::from_secs(15);

/// How often it is looked whose replicas are to be compared.
pub const COMPARE_LOOK: Duration = Duration::from_secs(15);

/// So long a partner may take to say what it holds.
pub const COMPARE_TIME_MAX: Duration = Duration::from_mins(10);
/// A certificate that ends within this is a warning of `doctor`, in seconds.
pub const CERTIFICATE_WARNING_SECONDS: i64 = 60 * 86_400;
/// Less free room than this is a warning of `doctor`, in bytes.
pub const FREE_BYTES_WARNING: u64 = 1 << 30;
/// More clock skew than this is a warning of `doctor`, in milliseconds.
pub const SKEW_MS_WARNING: i64 = 1000;
/// How often the pools are looked at: whether they take writes, and have room.
pub const POOL_LOOK: Duration = Duration::from_secs(30);
/// What goes on in a pool that is to be opened anew may go on so long.
pub const POOL_LEAVE_MAX: Duration = Duration::from_secs(20);
/// Least memory for the index of one pool: with less for each there is no further pool.
pub const POOL_INDEX_BYTES_MIN: u64 = 4 << 20;
/// Folders of one pool.
pub const POOL_FOLDERS_MAX: usize = 64;
/// A request waits so long for the catalog to know what the pool knows.
pub const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest answer of a media server in bytes: a page of a directory with long names.
pub const MEDIA_BODY_BYTES_MAX: usize = 16 << 20;
/// A media server is asked this often how it stands.
pub const MEDIA_LOOK: Duration = Duration::from_secs(2);
/// The same while it does not answer, at first and at most.
pub const MEDIA_RETRY_MIN: Duration = Duration::from_millis(500);
/// See [`MEDIA_RETRY_MIN`].
pub const MEDIA_RETRY_MAX: Duration = Duration::from_secs(10);
/// Answers between the servers of a domain come within this, but those to work.
pub const MEDIA_ANSWER_MAX: Duration = Duration::from_secs(15);
/// A pool is made within this.
pub const MEDIA_MAKE_MAX: Duration = Duration::from_mins(2);
/// Work on a media server whose answer comes when it is done: sending an image, checking one.
pub const MEDIA_WORK_MAX: Duration = Duration::from_hours(7 * 24);
/// A media server holds back the answer that nothing has come for so long.
pub const EVENT_WAIT: Duration = Duration::from_secs(20);
/// A media server that is told of a pool waits so long for its recovery before it answers that it is being opened.
pub const OPEN_WAIT: Duration = Duration::from_secs(3);
/// Bytes of records in one answer about an image log, but for the first.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// Copies on a lost media server that are given up in one transaction.
pub const COPIES_LOST_AT_ONCE: u32 = 200;
/// Lost answers that a media server tells its primary to forget at once.
pub const FORGETTING_MAX: usize = 256;
/// Data sessions under way on one media server.
pub const GUESTS_MAX: usize = 4096;
/// Data sessions on a media server that does not answer for so long count as ended.
pub const GUEST_SILENT_MAX: Duration = Duration::from_mins(2);
/// A media server asks so long what to commit, when its primary does not answer.
pub const SEAL_WAIT: Duration = Duration::from_secs(30);
/// A media server looks this often whether its certificate is to be renewed.
pub const MEDIA_RENEWAL_LOOK: Duration = Duration::from_hours(1);
/// Images that are told at once of those that will have no copy here any more.
pub const LEAVING_LISTED_MAX: u32 = 1000;
/// How often a pool is looked at for what is due about damage, and how far a scrub is is noted.
pub const DAMAGE_LOOK: Duration = Duration::from_secs(30);
/// What could not be mended is tried again after this.
pub const HEAL_RETRY: Duration = Duration::from_hours(1);
/// While a scrub goes on, what it finds is mended no more often than this.
pub const MEND_PAUSE: Duration = Duration::from_mins(1);
/// Rounds of asking everybody, as long as each brings something.
pub const HEAL_ROUNDS_MAX: usize = 5;
/// What may be asked of one pool and not done.
pub const WISHES_MAX: usize = 16;
/// Images of which it was told that they are damaged, and that are looked at again in one survey.
pub const DAMAGED_ASKED_MAX: u32 = 10_000;
/// Damaged images and places that are named to people.
pub const DAMAGE_NAMED_MAX: usize = 100;
/// A scrub of each pool begins so long after the one before, unless it is set.
pub const SCRUB_EVERY_DEFAULT: Duration = Duration::from_hours(30 * 24);
/// And reads so many bytes a second.
pub const SCRUB_RATE_DEFAULT: u64 = 50 << 20;
/// Entries that one page of a search looks at.
pub const FIND_ENTRIES_MAX: usize = 20_000;
/// Nodes that one page of a comparison reads, about: several times the height of two trees, so that each page gets on.
pub const FIND_NODES_MAX: usize = 1000;
/// What fits or differs on one page.
pub const FIND_PAGE_MAX: usize = 1000;
/// A pattern may have so many `**`: each doubles what trying it costs.
pub const FIND_WIDTHS_MAX: usize = 4;
/// Bytes of a pattern.
pub const FIND_GLOB_BYTES_MAX: usize = 4096;

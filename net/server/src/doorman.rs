//! Answers the data plane's questions: may they come in, what is committed, who may take.
//!
//! Guarantees: a backup needs its ticket and the certificate of the client that it was given to; a partner's
//! image needs trust, grants and the origin's signature (AIR-012); a restore needs its ticket and a client
//! of this domain (AIR-008); a partner takes what an image of its own lacks by the grant `heal` (AUTH-005). What is committed for a backup is made and signed here, not by the client. A copy from
//! pool to pool needs the ticket that this server gave itself, and brings the record that the catalog has.

use narrows_domain::{
    Catalog as _, Event, Image,
    event::{Logged, PoolEvent},
    image::Content,
    import::{Arrival, ImportKey},
    job::{Counters, JobKey},
    machine::backup,
    partner::Reach,
    retry::{Failure as Met, Side},
    scrub::may_heal,
    storage::spans,
};
use narrows_exchange::{CommitFacts, Refusal};
use narrows_format::{
    ClientId, DomainId, ImageId, PoolId, Sequence, ServerId,
    node::{Child, ChildKind},
    record::{CopyState, ImageFlags, ImageRecord, ScheduleKind, SignedRecord},
};
use narrows_ring::mailbox;
use narrows_transport::Principal;
use narrows_wire::{Draft, Purpose};

use crate::{
    api::{App, answer::Failure},
    importer::prove,
    plane::{
        gate::{Admission, Again, Loan, Question},
        relay::answer_each,
        sessions::Told,
    },
    servers::door::check_place,
    tickets::Ticket,
};

/// Runs until the data plane has gone; answers under way end with it.
pub async fn run(app: App, questions: mailbox::Receiver<Question>) {
    let answering = |question| {
        let app = app.clone();
        async move { answer(&app, question).await }
    };
    answer_each(questions, answering).await;
}

async fn answer(app: &App, question: Question) {
    // Nobody waiting for an answer is no error: the session ended.
    match question {
        Question::Begin { principal, purpose, ticket, skew_ms, begin, reply } => {
            let came = Came { ticket, at: None };
            let admitted =
                admit(app, &principal, (purpose, skew_ms), came, (begin.image, begin.origin)).await;
            if let Err(Ok(admission)) = reply.send(admitted) {
                ended(app, admission, "", "the session ended before it began".to_owned()).await;
            }
        }
        Question::Seal { admission, facts, copy, import_slp, reply } => {
            drop(reply.send(seal(app, admission, facts, copy, import_slp).await));
        }
        Question::Take { principal, ticket, image, reply } => {
            let came = Came { ticket, at: None };
            if let Err(Ok(Loan { job: Some(job), .. })) = reply.send(lend(app, &principal, came, image).await)
            {
                let gone = Met::interrupted("the client went away before it was given anything");
                restored(app, job, Counters::default(), Some(gone)).await;
            }
        }
        Question::Told(told) => for_the_job(app, told).await,
        Question::Ended { admission, code, sentence } => ended(app, admission, &code, sentence).await,
        Question::Again(again, reply) => {
            arrived_again(app, *again).await;
            drop(reply.send(Ok(())));
        }
    }
}

/// With what somebody came, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// From the hello.
    pub ticket: [u8; 32],
    /// The media server whose data port it is; `None` is this process.
    pub at: Option<ServerId>,
}

fn refused(Failure(error): Failure) -> Refusal {
    Refusal::new(error.code, error.message)
}

fn catalog_refused(error: &narrows_catalog::Error) -> Refusal {
    refused(crate::api::answer::internal(error))
}

fn bad_ticket() -> Refusal {
    Refusal::new("AUTH-004", "the ticket is unknown, used or expired")
}

/// May this principal bring this image, of this origin, to where it came?
pub async fn admit(
    app: &App,
    principal: &Principal,
    session: (Purpose, i64),
    came: Came,
    image: (ImageId, DomainId),
) -> Result<Admission, Refusal> {
    let admission = allow(app, principal, session, &came.ticket, image).await?;
    if let Err(refusal) = check_place(app, came.at, admission.pool()) {
        ended(app, admission, "", refusal.sentence.clone()).await;
        return Err(refusal);
    }
    Ok(admission)
}

async fn allow(
    app: &App,
    principal: &Principal,
    (purpose, skew_ms): (Purpose, i64),
    ticket: &[u8; 32],
    (image, origin): (ImageId, DomainId),
) -> Result<Admission, Refusal> {
    let own = app.who.domain;
    match (purpose, principal.serves()) {
        (Purpose::Replicate, Some(domain)) if domain != own => {
            let is_media = matches!(principal, Principal::Media { .. });
            let unit = named_unit(app, ticket, (domain, is_media), image)?;
            let receiving = app.control.begin_receiving(domain, (image, origin), unit).await;
            let (partner, pool) = receiving.map_err(refused)?;
            // That it reaches us does not say that we reach it.
            if partner.reach == Reach::Up {
                let skew_ms = Some(skew_ms);
                let (receive_pool, pools) = (None, Vec::new());
                app.control.tell(Event::PartnerUp { partner: domain, receive_pool, pools, skew_ms }).await;
            }
            Ok(Admission::Replica { image, sender: domain, pool })
        }
        (Purpose::Replicate, Some(_)) => {
            let fits = |it: &Ticket| matches!(it, Ticket::Duplicate { image: named, .. } if *named == image);
            match app.tickets.take(ticket, fits) {
                Some(Ticket::Duplicate { copy, pool, .. }) => Ok(Admission::Duplicate { image, copy, pool }),
                _ => Err(bad_ticket()),
            }
        }
        (Purpose::Backup, None) if is_client_of(principal, own) => {
            let is_theirs =
                |client: &ClientId| Principal::Client { domain: own, client: *client } == *principal;
            let fits = |it: &Ticket| matches!(it, Ticket::Backup { client, image: named, .. } if is_theirs(client) && *named == image);
            match app.tickets.take(ticket, fits) {
                Some(Ticket::Backup { attempt, copy, pool, .. }) => {
                    Ok(Admission::Backup { image, attempt, copy, pool })
                }
                _ => Err(bad_ticket()),
            }
        }
        _ => Err(Refusal::new("AUTH-005", format!("{principal} may not bring images for this purpose"))),
    }
}

fn is_client_of(principal: &Principal, domain: DomainId) -> bool {
    matches!(principal, Principal::Client { domain: of, .. } if *of == domain)
}

/// The storage unit that a partner's ticket names; without one the unit that receives from it takes what comes, but from
/// the partner's primary only: its media servers bring what that one has announced.
fn named_unit(
    app: &App,
    ticket: &[u8; 32],
    (sender, is_media): (DomainId, bool),
    image: ImageId,
) -> Result<Option<String>, Refusal> {
    if *ticket == [0; 32] && is_media {
        let sentence =
            "a media server of another domain brings what its primary has announced, with a ticket";
        return Err(Refusal::new("AUTH-005", sentence));
    }
    if *ticket == [0; 32] {
        return Ok(None);
    }
    let fits = |it: &Ticket| matches!(it, Ticket::Receive { sender: holder, image: named, .. } if *holder == sender && *named == image);
    match app.tickets.take(ticket, fits) {
        Some(Ticket::Receive { unit, .. }) => Ok(Some(unit).filter(|unit| !unit.is_empty())),
        _ => Err(bad_ticket()),
    }
}

/// What is to be committed?
pub async fn seal(
    app: &App,
    admission: Admission,
    facts: CommitFacts,
    copy: CopyState,
    import_slp: String,
) -> Result<(Vec<u8>, CopyState), Refusal> {
    match (admission, facts) {
        (Admission::Backup { image, attempt, copy, pool }, CommitFacts::Draft(mut draft)) => {
            let operations = app.catalog.operations(image).await.map_err(|error| catalog_refused(&error))?;
            let image = app.catalog.image(image).await.map_err(|error| catalog_refused(&error))?;
            let image = image.ok_or_else(|| Refusal::new("WIRE-002", "the image was never begun"))?;
            if !backup::may_seal(&operations, attempt, !image.policy.is_empty()) {
                let sentence = "this backup was given up, or begun again, while it was under way";
                return Err(Refusal::new("API-003", sentence));
            }
            let pools = app.catalog.pools().await.map_err(|error| catalog_refused(&error))?;
            // AIR-010: wherever it goes, its record says that it was made on several volumes.
            draft.flags.spans |= spans(&pools, pool);
            Ok((sign(app, &image, &draft), copy))
        }
        (Admission::Replica { image, sender, pool }, CommitFacts::Signed(signed)) => {
            let arrival = arrival(app, image, sender, signed, copy, import_slp).await?;
            let signed = arrival.signed.clone();
            match app.control.admit(pool, arrival).await {
                Ok(copy) => Ok((signed, copy)),
                Err(Failure(error)) => {
                    let code = &error.code;
                    tracing::warn!(%image, %sender, code, why = error.message, "an image that a partner brought is refused");
                    Err(refused(Failure(error)))
                }
            }
        }
        (Admission::Duplicate { image, copy, .. }, CommitFacts::Signed(signed)) => {
            let known = app.catalog.image(image).await.map_err(|error| catalog_refused(&error))?;
            match known.and_then(|image| image.content) {
                Some(content) if content.signed == signed => Ok((signed, copy)),
                _ => Err(Refusal::new("WIRE-002", "the record is not the one of the image here")),
            }
        }
        _ => Err(Refusal::new("WIRE-002", "this kind of commit does not fit the session's purpose")),
    }
}

/// The record of a backup: what the catalog knows of the image, and what the client found.
fn sign(app: &App, image: &Image, draft: &Draft) -> Vec<u8> {
    let record = ImageRecord {
        image: image.id,
        origin: app.who.domain,
        client: image.client,
        client_name: image.client_name.clone(),
        policy: image.policy.clone(),
        schedule: image.schedule,
        started: image.started,
        written: app.clock.now().max(image.started),
        classification: image.classification.clone(),
        slp: image.slp.clone(),
        slp_version: image.slp_version,
        lineage: image.lineage,
        root: draft.root,
        root_length: draft.root_length,
        logical_bytes: draft.logical_bytes,
        files: draft.files,
        flags: ImageFlags {
            synthetic: draft.flags.synthetic || image.schedule == ScheduleKind::Synthetic,
            ..draft.flags
        },
        image_format: draft.image_format,
    };
    let signature = app.signing.sign(&record.encode());
    SignedRecord { record, signature }.encode()
}

/// What arrived, with its proof. An unproved origin is refused by the domain (AIR-012).
async fn arrival(
    app: &App,
    image: ImageId,
    sender: DomainId,
    signed: Vec<u8>,
    copy: CopyState,
    import_slp: String,
) -> Result<Arrival, Refusal> {
    let decoded = SignedRecord::decode(&signed);
    let record = decoded.map_err(|bad| Refusal::new("WIRE-002", bad.to_string()))?.record;
    if record.image != image {
        return Err(Refusal::new("WIRE-002", "the record is of another image than was begun"));
    }
    let proof = prove(app, record.origin, &signed).await.map_err(refused)?;
    let import_slp = Some(import_slp).filter(|slp| !slp.is_empty());
    Ok(Arrival { record, signed, proof, sender, import_slp, asked_expiry: copy.expires })
}

/// May this principal take this image from where it came?
pub async fn lend(app: &App, principal: &Principal, came: Came, image: ImageId) -> Result<Loan, Refusal> {
    let (domain, client) = match principal {
        Principal::Client { domain, client } => (domain, client),
        // A partner's media server takes what its primary has asked for, with a ticket.
        Principal::Server { domain }
            if *domain != app.who.domain && came.ticket == [0; 32] && came.at.is_none() =>
        {
            let pool = to_lend(app, *domain, image).await?;
            check_place(app, None, pool)?;
            return healing(app, image, (pool, Some(*domain))).await;
        }
        Principal::Server { domain } | Principal::Media { domain, .. } if came.ticket != [0; 32] => {
            let fits = |it: &Ticket| match it {
                Ticket::Heal { image: named, .. } => *named == image && *domain == app.who.domain,
                Ticket::Lend { asker, image: named, .. } => *named == image && domain == asker,
                _ => false,
            };
            let (pool, asker) = match app.tickets.take(&came.ticket, fits) {
                Some(Ticket::Heal { pool, .. }) => (pool, None),
                Some(Ticket::Lend { asker, pool, .. }) => (pool, Some(asker)),
                _ => return Err(bad_ticket()),
            };
            check_place(app, came.at, pool)?;
            return healing(app, image, (pool, asker)).await;
        }
        Principal::Server { .. } | Principal::Media { .. } | Principal::Admin { .. } => {
            let sentence = format!("{principal} may not restore: a client is needed");
            return Err(Refusal::new("AUTH-005", sentence));
        }
    };
    if *domain != app.who.domain {
        return Err(Refusal::new("AIR-008", format!("{principal} is a client of another domain")));
    }
    let fits = |it: &Ticket| matches!(it, Ticket::Restore { .. });
    let (job, pool) = match app.tickets.take(&came.ticket, fits) {
        Some(Ticket::Restore { client: holder, image: named, pool, job })
            if holder == *client && named == image =>
        {
            (job, pool)
        }
        Some(Ticket::Restore { job, .. }) => {
            let failure = Met::coded("AUTH-004", Side::Target, "its ticket was shown by somebody else");
            restored(app, job, Counters::default(), Some(failure)).await;
            return Err(bad_ticket());
        }
        _ => return Err(bad_ticket()),
    };
    if let Err(refusal) = check_place(app, came.at, pool) {
        let failure = Met::interrupted(refusal.sentence.clone());
        restored(app, job, Counters::default(), Some(failure)).await;
        return Err(refusal);
    }
    let known = app.catalog.image(image).await.map_err(|error| catalog_refused(&error))?;
    let known = known.and_then(|image| image.content.map(|content| (content, image.lineage)));
    let Some((content, lineage)) = known else {
        let sentence = format!("image {image} is not here");
        let failure = Met::coded("API-002", Side::Source, sentence.clone());
        restored(app, job, Counters::default(), Some(failure)).await;
        return Err(Refusal::new("API-002", sentence));
    };
    Ok(Loan { root: root_of(&content), lineage, pool, job: Some(job), asker: None, pace: None })
}

/// The root of an image.
pub(crate) fn root_of(content: &Content) -> Child {
    Child { fingerprint: content.root, kind: ChildKind::Node, length: content.root_length }
}

/// The pool from which a partner heals an image of its own.
pub async fn to_lend(app: &App, asker: DomainId, image: ImageId) -> Result<PoolId, Refusal> {
    let failed = |error: narrows_catalog::Error| catalog_refused(&error);
    let partner = app.catalog.partner(asker).await.map_err(failed)?;
    let known = app.catalog.image(image).await.map_err(failed)?;
    let replicas = app.catalog.replicas(image).await.map_err(failed)?;
    let imports = app.catalog.imports_of(image).await.map_err(failed)?;
    may_heal(asker, image, (partner.as_ref(), known.as_ref(), &replicas, &imports))
        .map_err(|note| Refusal::new(note.code, note.sentence))?;
    let copies = app.catalog.copies(image).await.map_err(failed)?;
    let readable = copies.iter().filter(|copy| copy.is_readable() && app.pools.is_open(copy.pool));
    // One that is damaged gives what it has only where no other is.
    let Some(copy) = readable.min_by_key(|copy| app.damage.of(copy.pool).hurt().contains(&image)) else {
        return Err(Refusal::new("API-002", format!("image {image} has no copy here that can be read")));
    };
    tracing::info!(%image, partner = %asker, "a partner reads what it lacks of an image");
    Ok(copy.pool)
}

/// To a pool of this domain, or of the partner that asks, at the rate at which it is sent to.
async fn healing(
    app: &App,
    image: ImageId,
    (pool, asker): (PoolId, Option<DomainId>),
) -> Result<Loan, Refusal> {
    let known = app.catalog.image(image).await.map_err(|error| catalog_refused(&error))?;
    let found = known.and_then(|image| Some((root_of(image.content.as_ref()?), image.lineage)));
    let gone = || Refusal::new("API-002", format!("image {image} is not here"));
    let (root, lineage) = found.ok_or_else(gone)?;
    let pace = asker.map(|asker| app.paces.of(pool, asker));
    Ok(Loan { root, lineage, pool, job: None, asker, pace })
}

/// What came of a session, into its job.
async fn for_the_job(app: &App, told: Told) {
    match told {
        Told::Received { image, sender, pool, sequence, received: taken } => {
            let counters = Counters {
                wire_bytes: taken.wire_bytes,
                data_bytes: taken.data_bytes,
                resent_bytes: taken.again_bytes,
                ..Counters::default()
            };
            received(app, (image, sender, pool, sequence), counters).await;
        }
        Told::Left(_) => {}
        Told::Restored { job, outcome: Ok(sent) } => {
            let counters = Counters {
                wire_bytes: sent.wire_bytes,
                data_bytes: sent.data_bytes,
                resent_bytes: sent.again_bytes,
                ..Counters::default()
            };
            restored(app, job, counters, None).await;
        }
        Told::Restored { job, outcome: Err((code, sentence)) } => {
            restored(app, job, Counters::default(), Some(broken(&code, sentence))).await;
        }
    }
}

/// What the end of a restore's session means.
pub fn broken(code: &str, sentence: String) -> Met {
    match code {
        "" => Met::interrupted(sentence),
        code => Met::coded(code, Side::Source, sentence),
    }
}

/// A partner's session ended with a commit.
pub async fn received(
    app: &App,
    (image, sender, pool, sequence): (ImageId, DomainId, PoolId, Sequence),
    counters: Counters,
) {
    let import = ImportKey { pool, sequence, sender };
    app.control.end_receiving(sender, image).await;
    app.control.tell(Event::Received { import, image, counters }).await;
}

/// The end of a restore's job.
pub async fn restored(app: &App, job: JobKey, counters: Counters, failure: Option<Met>) {
    app.control.tell(Event::RestoreEnded { job, counters, failure }).await;
}

/// The pool logs nothing anew: what is known of the commit is told with what the sender asks now.
pub async fn arrived_again(app: &App, again: Again) {
    let entry = &again.entry;
    let (record, signed) = (entry.record.record.clone(), entry.record_bytes.clone());
    let proof = match prove(app, record.origin, &signed).await {
        Ok(proof) => proof,
        // The sender asks again if it has to.
        Err(Failure(error)) => return tracing::warn!(%error, "a repeated arrival could not be looked at"),
    };
    let import_slp = Some(again.import_slp).filter(|slp| !slp.is_empty());
    let (sender, asked_expiry) = (again.sender, again.asked_expiry);
    let arrival = Arrival { record, signed, proof, sender, import_slp, asked_expiry };
    let logged = Logged::Arrival { arrival, copy: entry.copy, stored_bytes: entry.stored_bytes };
    let (pool, incarnation, sequence) = (again.pool, again.incarnation, entry.sequence);
    app.control.tell(Event::ArrivedAgain(PoolEvent { pool, incarnation, sequence, logged })).await;
}

/// A session ended without a commit. A replication's source knows; a backup waits for its client.
pub async fn ended(app: &App, admission: Admission, code: &str, sentence: String) {
    if matches!(code, "POOL-002" | "POOL-004") {
        app.pools.notice();
    }
    let (image, attempt) = match admission {
        Admission::Backup { image, attempt, .. } => (image, attempt),
        Admission::Replica { image, sender, .. } => return app.control.end_receiving(sender, image).await,
        // Its sender is here, and knows.
        Admission::Duplicate { .. } => return,
    };
    let failure =
        if code.is_empty() { Met::interrupted(sentence) } else { Met::coded(code, Side::Target, sentence) };
    app.control.tell(Event::BackupInterrupted { image, attempt, failure }).await;
}

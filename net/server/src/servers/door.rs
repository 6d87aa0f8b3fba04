//! Answers what a media server asks on behalf of its data sessions, as the doorman answers those of this process.
//!
//! Guarantee: a media server is given what concerns its own pools only, and can seal, end and tell of nothing else than it
//! was allowed. That a peer is who it says is the media server's word: it did the handshake.

use narrows_api::{ApiError, error::codes};
use narrows_domain::{
    job::{Counters, JobKey},
    retry::Failure as Broken,
    storage::MediaServer,
};
use narrows_exchange::Refusal;
use narrows_format::{ImageId, Sequence, ServerId, Timestamp};
use narrows_transport::Principal;

use super::{
    asked::{AdmissionWord, Answered, Asked, LoanWord},
    guests::{Asking, Visit},
    words::Blob,
};
use crate::{
    apart,
    api::{
        App,
        answer::{Failure, malformed},
    },
    doorman::{self, Came},
    pairing::is_authority,
    plane::gate::{Admission, Again},
};

/// Answers one question. It is carried to its end whoever waits for the answer.
pub async fn answer(app: &App, server: ServerId, asked: Asked) -> Result<Answered, Failure> {
    match asked {
        Asked::Here { url, data_addr } => here(app, server, url, data_addr).await?,
        Asked::Begin { peer, purpose, ticket, skew_ms, image, origin } => {
            let asking = app.servers.guests.asks(server, (ticket.0, image))?;
            let (peer, came) = (Principal::from(peer), Came { ticket: ticket.0, at: Some(server) });
            let admitted = doorman::admit(app, &peer, (purpose.into(), skew_ms), came, (image, origin)).await;
            let admission = admitted.map_err(told)?;
            let word = AdmissionWord::from(&admission);
            let_in(app, asking, Visit::Brings(admission)).await?;
            return Ok(Answered::Admitted(word));
        }
        Asked::Take { peer, ticket, image } => {
            return take(app, server, peer.into(), (ticket.0, image)).await;
        }
        Asked::Forget { ticket, image } => {
            if let Some(visit) = app.servers.guests.forget(server, &(ticket.0, image)) {
                end(app, visit, Broken::interrupted("the session did not begin")).await;
            }
        }
        Asked::Seal { admission, facts, copy, import_slp } => {
            let admission = Admission::from(admission);
            if !app.servers.guests.has(server, &Visit::Brings(admission.clone())) {
                return Err(unknown());
            }
            let sealed = doorman::seal(app, admission, facts.into(), copy.into(), import_slp).await;
            let (record, copy) = sealed.map_err(told)?;
            return Ok(Answered::Sealed(Blob(record), copy.into()));
        }
        Asked::Ended { admission, code, sentence } => {
            let admission = Admission::from(admission);
            if app.servers.guests.left(server, &Visit::Brings(admission.clone())) {
                doorman::ended(app, admission, &code, sentence).await;
            }
        }
        Asked::Left { admission } => {
            app.servers.guests.left(server, &Visit::Brings(admission.into()));
        }
        Asked::Received { admission, sequence, crossed } => {
            let admission = Admission::from(admission);
            if app.servers.guests.left(server, &Visit::Brings(admission.clone()))
                && let Admission::Replica { image, sender, pool } = admission
            {
                let arrived = (image, sender, pool, Sequence(sequence));
                doorman::received(app, arrived, crossed.into()).await;
            }
        }
        Asked::Restored { job, crossed, broken } => {
            let job = JobKey(job);
            if app.servers.guests.left(server, &Visit::Takes(job.clone())) {
                let failure = broken.map(|(code, sentence)| doorman::broken(&code, sentence));
                doorman::restored(app, job, crossed.into(), failure).await;
            }
        }
        Asked::Again { sender, pool, incarnation, entry, import_slp, asked_expiry } => {
            check_place(app, Some(server), pool).map_err(told)?;
            let asked_expiry = asked_expiry.map(Timestamp::from);
            let entry = std::sync::Arc::new(entry.entry()?);
            let again = Again { sender, pool, incarnation, entry, import_slp, asked_expiry };
            doorman::arrived_again(app, again).await;
        }
    }
    Ok(Answered::Heard)
}

/// An image is taken there: by a client for a job, or by a pool that lacks something of it.
async fn take(
    app: &App,
    server: ServerId,
    peer: Principal,
    (ticket, image): ([u8; 32], ImageId),
) -> Result<Answered, Failure> {
    let asking = app.servers.guests.asks(server, (ticket, image))?;
    let came = Came { ticket, at: Some(server) };
    let loan = doorman::lend(app, &peer, came, image).await.map_err(told)?;
    let word = LoanWord::new(&loan);
    // A heal has no job: nobody here waits for its end.
    if let Some(job) = loan.job {
        let_in(app, asking, Visit::Takes(job)).await?;
    }
    Ok(Answered::Lent(word))
}

fn told(Refusal { code, sentence }: Refusal) -> Failure {
    ApiError::new(code, sentence).into()
}

/// It was allowed before the primary started, or never.
fn unknown() -> Failure {
    let error = ApiError::new(codes::NOT_READY, "this session is not known to the primary");
    error
        .because("the primary was started anew since")
        .help("begin again: what is durable is not sent twice")
        .into()
}

/// Whether a pool is one of the server to which the peer came: NET-003 sends it to ask again.
pub fn check_place(app: &App, at: Option<ServerId>, pool: narrows_format::PoolId) -> Result<(), Refusal> {
    if app.plane.away(pool).map(|link| link.server) == at {
        return Ok(());
    }
    let sentence = format!("pool {pool} is on another media server: ask again where data for it goes");
    Err(Refusal::new(codes::NOT_READY, sentence))
}

/// It was allowed. Its media server may have told us meanwhile that nobody waits for that any more.
async fn let_in(app: &App, asking: Asking<'_>, visit: Visit) -> Result<(), Failure> {
    let Err(visit) = asking.came(visit) else { return Ok(()) };
    let why = "the answer came too late: the session was given up";
    end(app, visit, Broken::interrupted(why)).await;
    Err(ApiError::new(codes::NOT_READY, why).into())
}

/// A session that nobody will tell the end of.
pub async fn end(app: &App, visit: Visit, why: Broken) {
    match visit {
        Visit::Brings(admission) => doorman::ended(app, admission, "", why.sentence).await,
        Visit::Takes(job) => doorman::restored(app, job, Counters::default(), Some(why)).await,
    }
}

/// It has started, perhaps with another address.
async fn here(app: &App, server: ServerId, url: String, data_addr: String) -> Result<(), Failure> {
    let Some(link) = app.servers.get(server) else { return Ok(()) };
    check_addresses(&url, &data_addr)?;
    let row = link.row();
    if (&row.url, &row.data_address) == (&url, &data_addr) {
        link.nudge.notify_one();
        return Ok(());
    }
    apart::check_server(app, &data_addr).await?;
    let name = row.name;
    let moved = app.control.act(move |primary, _| {
        Box::pin(async move { Ok((primary.move_server(&name, url, data_addr).await?, Vec::new())) })
    });
    let row: MediaServer = moved.await?;
    tracing::info!(server = row.name, url = row.url, "the media server has another address");
    link.set_row(row);
    Ok(())
}

/// Both are addresses, whatever else they are.
pub fn check_addresses(url: &str, data_addr: &str) -> Result<(), Failure> {
    let is_url = url.strip_prefix("https://").is_some_and(is_authority);
    match (is_url, is_authority(data_addr)) {
        (true, true) => Ok(()),
        (false, _) => Err(malformed("url", "an address like https://host:7400 is needed")),
        (true, false) => Err(malformed("data_addr", "an address like host:7401 is needed")),
    }
}

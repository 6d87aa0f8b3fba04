//! What partners ask. Whom a request is from is said by the certificate, never by its body.

use axum::extract::{Path, State};
use futures_util::join;
use narrows_api::{
    ApiError,
    error::codes,
    partner::{
        ApiReached, ConfirmRequest, Confirmation, Introduction, LendRequest, PartnerSlp, PingQuestion, Pong,
        Reached, ReceiveGrant, ReceiveRequest,
    },
    text::time_in,
};
use narrows_domain::{Event, ImportReport, Outcome, operation::Note, slp::PartnerSlp as Looked};
use narrows_format::Sequence;
use tokio::time::timeout;

use super::{
    App,
    agent::said,
    answer::{Answer, Body, Failure, Params, good, malformed, not_found},
    caller::PartnerCaller,
};
use crate::{
    doorman, hands,
    limits::{CODE_BYTES_MAX, REACH_TIME_MAX, RECEIVE_TICKETS_MAX, SENTENCE_LETTERS_MAX},
    pairing,
    tickets::Ticket,
};

/// POST: a domain introduces itself with an invitation's token.
pub async fn pair(State(app): State<App>, Body(theirs): Body<Introduction>) -> Answer<Introduction> {
    good(pairing::accept(&app, theirs).await?)
}

/// POST: the caller trusts us; call it back to see that it can be reached, then the pairing is complete.
pub async fn confirm(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Body(request): Body<ConfirmRequest>,
) -> Answer<Pong> {
    good(pairing::confirm(&app, partner, request).await?)
}

/// GET: who we are, what our clock says, and whether we take what the caller brings.
pub async fn ping(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Params(PingQuestion { unit }): Params<PingQuestion>,
) -> Answer<Pong> {
    let pong = pairing::pong_for(&app, &partner).await?;
    good(Pong { refuses: pairing::refuses(&app, &partner, unit.as_deref()).await?, ..pong })
}

/// GET: whether we reach the caller's data port and its API, for its `doctor`.
pub async fn reach(State(app): State<App>, PartnerCaller(partner): PartnerCaller) -> Answer<Reached> {
    // The caller waits for this no longer than for any other answer.
    let data = timeout(REACH_TIME_MAX, hands::reach(&app, &partner));
    let api = timeout(REACH_TIME_MAX, hands::ping(&app, &partner));
    let (data, api) = join!(data, api);
    let silent = || ("NET-001".to_owned(), "no answer".to_owned());
    let (code, why) = match data {
        Ok(Ok(_)) => Default::default(),
        Ok(Err(failure)) => (failure.code, failure.sentence),
        Err(_) => silent(),
    };
    let (api_code, api_why) = match api {
        Ok(Ok(_)) => Default::default(),
        Ok(Err(error)) => (error.code.clone(), error.sentence()),
        Err(_) => silent(),
    };
    let api = Some(ApiReached { url: partner.url, code: api_code, why: api_why });
    good(Reached { address: partner.data_address, code, why, api })
}

/// POST: an image is to be brought to a storage unit that the caller names.
pub async fn receive(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Body(request): Body<ReceiveRequest>,
) -> Answer<ReceiveGrant> {
    app.control.may_send(partner.domain).await?;
    if app.tickets.out_to(partner.domain) >= RECEIVE_TICKETS_MAX {
        let error =
            ApiError::new(codes::NOT_READY, "too many images were announced and have not been brought");
        return Err(error.help("try again in a few minutes").into());
    }
    // Whether there is such a unit, and room, is asked when the session begins.
    let ReceiveRequest { image, unit } = request;
    let receiving = if unit.is_empty() { &partner.receive_unit } else { &unit };
    let away = app.data_away(app.receive_pool(receiving).await?.pool);
    let ticket = app.tickets.give(Ticket::Receive { sender: partner.domain, image, unit })?;
    let (data_addr, data_server) = away.map(|at| (Some(at.address), at.server)).unwrap_or_default();
    good(ReceiveGrant { ticket, data_addr, data_server })
}

/// POST: a ticket with which the caller reads what it lacks of an image.
pub async fn lend(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Body(LendRequest { image }): Body<LendRequest>,
) -> Answer<ReceiveGrant> {
    let pool = doorman::to_lend(&app, partner.domain, image).await;
    let pool = pool.map_err(|refusal| ApiError::new(refusal.code, refusal.sentence))?;
    if app.tickets.out_to(partner.domain) >= RECEIVE_TICKETS_MAX {
        let error = ApiError::new(codes::NOT_READY, "too many tickets are out that were not used");
        return Err(error.help("try again in a few minutes").into());
    }
    let ticket = app.tickets.give(Ticket::Lend { asker: partner.domain, image, pool })?;
    let (data_addr, data_server) =
        app.data_away(pool).map(|at| (Some(at.address), at.server)).unwrap_or_default();
    good(ReceiveGrant { ticket, data_addr, data_server })
}

/// GET: what a partner may know of one of our SLPs (grant `slp-lookup`).
pub async fn slp(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Path(name): Path<String>,
) -> Answer<PartnerSlp> {
    match app.control.slp_for_partner(partner.domain, name.clone()).await? {
        Looked::Present { classification, receives, units } => {
            good(PartnerSlp { name, data_classification: classification, receives, units })
        }
        Looked::Absent => Err(not_found("SLP", &name)),
        Looked::Unreachable(sentence) => Err(ApiError::new(codes::INTERNAL, sentence).into()),
    }
}

/// POST: what became of an image that we sent there.
pub async fn imports(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Body(word): Body<Confirmation>,
) -> Answer<()> {
    let report = report(&word)?;
    app.control.happened(Event::ImportReported { from: partner.domain, report }).await?;
    good(())
}

fn report(word: &Confirmation) -> Result<ImportReport, Failure> {
    let said =
        Note { code: said(&word.code, CODE_BYTES_MAX), sentence: said(&word.why, SENTENCE_LETTERS_MAX) };
    let outcome = match word.outcome.as_str() {
        "imported" => Outcome::Imported {
            expires: word.expires.map(time_in),
            note: Some(said).filter(|note| !(note.code.is_empty() && note.sentence.is_empty())),
        },
        "waiting" => Outcome::Waiting { note: said, until: word.until.map(time_in) },
        "failed" => Outcome::Failed { note: said },
        "given-up" => Outcome::GivenUp { note: said },
        "refused" => Outcome::Refused { note: said },
        other => return Err(malformed("outcome", &format!("{other:?} is none"))),
    };
    Ok(ImportReport {
        image: word.image,
        pool: word.receive_pool.pool,
        incarnation: word.receive_pool.incarnation,
        sequence: Sequence(word.sequence),
        revision: word.revision,
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use narrows_api::partner::ReceivePool;
    use narrows_format::{ImageId, PoolId};

    /// Symptom: what a partner said of an image was stored, and printed on a terminal, as it came: a megabyte of anything.
    #[test]
    fn what_a_partner_says_is_bounded_and_printable() {
        let word = Confirmation {
            image: ImageId([1; 16]),
            receive_pool: ReceivePool { pool: PoolId([2; 16]), incarnation: 1 },
            sequence: 1,
            revision: 1,
            outcome: "failed".into(),
            code: format!("AIR-002\u{1b}{}", "x".repeat(1 << 20)),
            why: format!("\u{1b}[2Jno SLP\n{}", "é".repeat(1 << 20)),
            expires: None,
            until: None,
        };
        let Ok(ImportReport { outcome: Outcome::Failed { note }, .. }) = report(&word) else {
            panic!("it is a failure");
        };
        assert_eq!(note.code, "AIR-002 xxxxxxxx");
        assert!(note.sentence.starts_with(" [2Jno SLP é"), "{}", note.sentence);
        assert_eq!(note.sentence.chars().count(), SENTENCE_LETTERS_MAX);
    }
}

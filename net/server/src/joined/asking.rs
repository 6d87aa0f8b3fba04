//! Takes the data plane's questions to the primary.
//!
//! Guarantees: what a session was told is what the primary said. A question whose answer does not come is refused as "not
//! now", and the primary is told to forget it; word of an ended session is said until it is heard. Sealing is asked again for
//! a while: it changes nothing, and everything that it would seal has crossed already.

use std::time::Duration;

use narrows_api::{ApiError, Hex, error::codes};
use narrows_exchange::Refusal;
use narrows_format::ImageId;
use narrows_ring::mailbox;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::Joined;
use crate::{
    limits::{FORGETTING_MAX, MEDIA_RETRY_MAX, MEDIA_RETRY_MIN, SEAL_WAIT},
    plane::{
        gate::{Again, Loan, Question},
        relay::answer_each,
        sessions::Told,
    },
    servers::{
        asked::{Answered, Asked, CrossedWord, when},
        words::EntryWord,
    },
};

/// Runs until the data plane has gone; what is under way ends with it.
pub async fn run(joined: Joined, questions: mailbox::Receiver<Question>) {
    let answering = |question| {
        let joined = joined.clone();
        async move { answer(&joined, question).await }
    };
    answer_each(questions, answering).await;
}

async fn answer(joined: &Joined, question: Question) {
    // Nobody waiting for an answer is no error: the session ended.
    match question {
        Question::Begin { principal, purpose, ticket, skew_ms, begin, reply } => {
            let (image, origin, ticket) = (begin.image, begin.origin, Hex(ticket));
            let asked = Asked::Begin {
                peer: principal.into(),
                purpose: purpose.into(),
                ticket,
                skew_ms,
                image,
                origin,
            };
            let admitted = joined.ask(&asked).await.and_then(Answered::admitted);
            forget_if_lost(joined, &admitted, ticket, image);
            if let Err(Ok(admission)) = reply.send(admitted.map_err(refusal)) {
                let (code, sentence) = (String::new(), "the session ended before it began".to_owned());
                tell(joined, Asked::Ended { admission: (&admission).into(), code, sentence }).await;
            }
        }
        Question::Take { principal, ticket, image, reply } => {
            let ticket = Hex(ticket);
            let asked = Asked::Take { peer: principal.into(), ticket, image };
            let lent = joined.ask(&asked).await.and_then(Answered::lent).map(|loan| {
                let pace = loan.asker.map(|asker| joined.paces.of(loan.pool, asker));
                Loan { pace, ..loan }
            });
            forget_if_lost(joined, &lent, ticket, image);
            if let Err(Ok(Loan { job: Some(job), .. })) = reply.send(lent.map_err(refusal)) {
                let why = "the client went away before it was given anything".to_owned();
                let broken = Some((String::new(), why));
                let crossed = CrossedWord::default();
                tell(joined, Asked::Restored { job: job.0, crossed, broken }).await;
            }
        }
        Question::Seal { admission, facts, copy, import_slp, reply } => {
            let (admission, facts, copy) = ((&admission).into(), facts.into(), copy.into());
            let sealed = seal(joined, &Asked::Seal { admission, facts, copy, import_slp }).await;
            drop(reply.send(sealed.and_then(Answered::sealed).map_err(refusal)));
        }
        Question::Ended { admission, code, sentence } => {
            tell(joined, Asked::Ended { admission: (&admission).into(), code, sentence }).await;
        }
        Question::Told(told) => tell(joined, word_of(told)).await,
        Question::Again(again, reply) => {
            tell(joined, again_word(*again)).await;
            drop(reply.send(Ok(())));
        }
    }
}

fn refusal(error: ApiError) -> Refusal {
    Refusal::new(error.code, error.message)
}

/// Words of lost answers that are under way.
static FORGETTING: Semaphore = Semaphore::const_new(FORGETTING_MAX);

/// The answer may have been lost on its way: whoever was allowed does not come.
fn forget_if_lost<T>(joined: &Joined, outcome: &Result<T, ApiError>, ticket: Hex<32>, image: ImageId) {
    if let Err(error) = outcome
        && is_lost(error)
    {
        // What more there is comes of a primary that is away for long, and that forgets by itself.
        let Ok(place) = FORGETTING.try_acquire() else { return };
        let joined = joined.clone();
        // The session need not wait for that.
        tokio::spawn(async move {
            let _place = place;
            tell(&joined, Asked::Forget { ticket, image }).await;
        });
    }
}

fn is_lost(error: &ApiError) -> bool {
    matches!(error.code.as_str(), codes::UNREACHABLE | codes::TIMED_OUT | codes::INTERNAL)
}

async fn seal(joined: &Joined, asked: &Asked) -> Result<Answered, ApiError> {
    let until = Instant::now() + SEAL_WAIT;
    loop {
        match joined.ask(asked).await {
            Err(error) if is_lost(&error) && Instant::now() < until => sleep(MEDIA_RETRY_MIN).await,
            answered => return answered,
        }
    }
}

/// Says it until it is heard, or refused.
pub(super) async fn tell(joined: &Joined, word: Asked) {
    let mut pause: Duration = MEDIA_RETRY_MIN;
    loop {
        match joined.ask(&word).await {
            Ok(_) => return,
            Err(error) if is_lost(&error) => tracing::debug!(%error, "the primary did not hear; said again"),
            Err(error) => return tracing::warn!(%error, "the primary refused to hear"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(MEDIA_RETRY_MAX);
    }
}

fn word_of(told: Told) -> Asked {
    match told {
        Told::Received { image, sender, pool, sequence, received } => {
            let admission = crate::plane::gate::Admission::Replica { image, sender, pool };
            let crossed = CrossedWord::new(received.wire_bytes, received.data_bytes, received.again_bytes);
            Asked::Received { admission: (&admission).into(), sequence: sequence.0, crossed }
        }
        Told::Left(admission) => Asked::Left { admission: (&admission).into() },
        Told::Restored { job, outcome: Ok(sent) } => {
            let crossed = CrossedWord::new(sent.wire_bytes, sent.data_bytes, sent.again_bytes);
            Asked::Restored { job: job.0, crossed, broken: None }
        }
        Told::Restored { job, outcome: Err(broken) } => {
            Asked::Restored { job: job.0, crossed: CrossedWord::default(), broken: Some(broken) }
        }
    }
}

fn again_word(again: Again) -> Asked {
    Asked::Again {
        sender: again.sender,
        pool: again.pool,
        incarnation: again.incarnation,
        entry: Box::new(EntryWord::from(&*again.entry)),
        import_slp: again.import_slp,
        asked_expiry: when(again.asked_expiry),
    }
}

//! What happened to an image, step by step, here and in all domains that it went on to.
//!
//! Each domain tells its own steps and asks those to which it sent the image; so the chain is followed from partner to partner,
//! each under the grant `status` that it has there. Who made an image, or sent it here, is told what became of it here and
//! from here on, and nobody else. Nobody is asked twice on one way, and each has less time than who asked it. One that does
//! not answer is told with its last known state. Times of others are shown by the clock here, as far as the skew is
//! known; what they say is bounded, and counts only for themselves and for domains that are not heard directly.

mod telling;

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use futures_util::future::join_all;
use narrows_api::{
    ApiError, Hex,
    error::codes,
    images::ImageFilter,
    paths,
    text::{time_in, time_out},
    timeline::{Step, Timeline, TimelineQuestion, Told, Witness},
};
use narrows_domain::{
    Catalog as _, Image, ReplicaRecord,
    moment::since,
    partner::{Partner, Trust},
};
use narrows_format::{DomainId, ImageId};

use self::telling::{Listener, own_steps};
use super::{
    App,
    agent::said,
    answer::{Answer, Body, Failure, Params, good, internal, malformed, not_found},
    caller::{Admin, PartnerCaller, not_allowed},
    domains::name_of,
    images::{image_name, named},
};
use crate::{
    limits::{
        SENTENCE_LETTERS_MAX, TIMELINE_DOMAINS_MAX, TIMELINE_NAME_LETTERS_MAX, TIMELINE_STEPS_MAX,
        TIMELINE_TIME_MAX, TIMELINE_TIME_STEP,
    },
    time::plus_millis,
};

/// What is said of a domain that the image came from and did not go back to.
const UPSTREAM: &str =
    "it tells those that it has an image from, and who made it, and not those that it sent it to";
/// What is said of one that there is no time to ask.
const NO_TIME: &str = "the question had come so far that there was no time left to ask it";
/// Two tellers' clocks may tell a step so far apart.
const SAME_STEP: Duration = Duration::from_mins(1);

/// The routes here.
pub fn routes() -> Router<App> {
    Router::new().route(paths::IMAGE_TIMELINE, get(show)).route(paths::PARTNER_TIMELINE, post(for_partner))
}

/// GET the whole of it.
async fn show(
    State(app): State<App>,
    _admin: Admin,
    Path(id): Path<String>,
    Params(filter): Params<ImageFilter>,
) -> Answer<Timeline> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let image = named(&app, &partners, &id, &filter).await?;
    let asking = Asking { seen: BTreeSet::from([app.who.domain]), within: TIMELINE_TIME_MAX };
    let Told { steps, mut domains, cut } = tell(&app, &partners, &image, Listener::House, asking).await?;
    for upstream in upstream(&partners, &image, &domains) {
        domains.push(witness(&app, upstream, image.id, UPSTREAM.to_owned()).await?);
    }
    let told = app.clock.now();
    for domain in &mut domains {
        domain.age_seconds = domain.as_of.map(|at| since(told, time_in(at)).as_secs());
    }
    let name = image_name(&app, &partners, &image);
    good(Timeline { image: image.id, name, told: time_out(told), steps, domains, cut })
}

/// POST by a partner: what happened to an image that it made or sent, here and from here on.
async fn for_partner(
    State(app): State<App>,
    PartnerCaller(partner): PartnerCaller,
    Path(id): Path<String>,
    Body(question): Body<TimelineQuestion>,
) -> Answer<Told> {
    let id: ImageId = id.parse().map_err(|_| not_found("image", &id))?;
    if question.seen.len() > TIMELINE_DOMAINS_MAX {
        return Err(malformed("seen", &format!("more than {TIMELINE_DOMAINS_MAX} domains")));
    }
    if !partner.grants.status {
        return Err(not_allowed("the grant `status`"));
    }
    let Ok(_place) = app.timelines.try_acquire() else {
        let error = ApiError::new(codes::NOT_READY, "too many partners ask for timelines just now");
        return Err(error.help("ask again in a few seconds").into());
    };
    app.caught_up().await?;
    let image = app.catalog.image(id).await.map_err(|error| internal(&error))?;
    let image = image.ok_or_else(|| not_found("image", &id.to_string()))?;
    let listener = if image.origin == partner.domain {
        Listener::Origin(partner.domain)
    } else if telling::was_sent_by(&app, &image, partner.domain).await? {
        Listener::Sender(partner.domain)
    } else {
        return Err(not_found("image", &id.to_string()));
    };
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let mut seen: BTreeSet<_> = question.seen.iter().map(|it| DomainId(it.0)).collect();
    seen.extend([app.who.domain, partner.domain]);
    let within = Duration::from_millis(question.within_ms.into()).min(TIMELINE_TIME_MAX);
    good(tell(&app, &partners, &image, listener, Asking { seen, within }).await?)
}

/// How far a question has come.
struct Asking {
    /// Who is not to be asked any more.
    seen: BTreeSet<DomainId>,
    /// How long whoever asked waits.
    within: Duration,
}

/// The steps here, and those of the domains that it went on to, in order; at most [`TIMELINE_STEPS_MAX`] for a partner.
async fn tell(
    app: &App,
    partners: &[Partner],
    image: &Image,
    listener: Listener,
    mut asking: Asking,
) -> Result<Told, Failure> {
    let onward = onward(app, partners, image, &asking.seen).await?;
    asking.seen.extend(onward.iter().map(|it| it.domain));
    asking.within = asking.within.saturating_sub(TIMELINE_TIME_STEP);
    let asked = onward.iter().map(|partner| ask(app, partner, image.id, &asking));
    let answers = join_all(asked).await;
    let (steps, cut) = own_steps(app, partners, image, listener).await?;
    let mut whole = Told { steps, domains: Vec::new(), cut };
    for (partner, answer) in onward.iter().zip(answers) {
        let heard = answer.as_ref().err().map(|error| words(error, listener)).unwrap_or_default();
        let witness = witness(app, partner, image.id, heard).await?;
        match answer {
            Ok(told) => {
                whole.domains.push(Witness { cut: told.cut, ..witness });
                Hearing { app, partners, asked: &asking.seen, teller: partner }.take(told, &mut whole);
            }
            Err(_) => whole.domains.push(witness),
        }
    }
    whole.steps.sort_by_key(|step| step.began);
    if listener != Listener::House && whole.steps.len() > TIMELINE_STEPS_MAX {
        whole.steps.drain(..whole.steps.len() - TIMELINE_STEPS_MAX);
        whole.cut = true;
    }
    Ok(whole)
}

/// The partners that it goes or went to.
async fn onward<'p>(
    app: &App,
    partners: &'p [Partner],
    image: &Image,
    seen: &BTreeSet<DomainId>,
) -> Result<Vec<&'p Partner>, Failure> {
    let operations = app.catalog.operations(image.id).await.map_err(|error| internal(&error))?;
    let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
    let is_one = |domain: DomainId| {
        replicas.iter().any(|it| it.partner == domain)
            || operations.iter().any(|it| it.target.as_ref().is_some_and(|target| target.partner == domain))
    };
    Ok(partners.iter().filter(|it| is_one(it.domain) && !seen.contains(&it.domain)).collect())
}

/// Those that it came from and that were not asked.
fn upstream<'p>(partners: &'p [Partner], image: &Image, told: &[Witness]) -> Vec<&'p Partner> {
    let came_from = |it: &&Partner| image.sender == Some(it.domain) || image.origin == it.domain;
    let is_told = |it: &Partner| told.iter().any(|witness| witness.domain == it.domain);
    partners.iter().filter(came_from).filter(|it| !is_told(it)).collect()
}

async fn ask(app: &App, partner: &Partner, image: ImageId, asking: &Asking) -> Result<Told, ApiError> {
    if partner.trust != Trust::Complete {
        return Err(ApiError::new("TRUST-001", "there is no complete pairing with it"));
    }
    if asking.within < TIMELINE_TIME_STEP {
        return Err(ApiError::new(codes::TIMED_OUT, NO_TIME));
    }
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let question = TimelineQuestion {
        seen: asking.seen.iter().map(|it| Hex(it.0)).collect(),
        within_ms: u32::try_from(asking.within.as_millis()).unwrap_or(u32::MAX),
    };
    let path = paths::PARTNER_TIMELINE.replace("{id}", &image.to_string());
    api.post_within(&path, &question, asking.within).await
}

/// Why a partner did not tell its steps. Another domain hears the code: the words name its addresses.
fn words(error: &ApiError, listener: Listener) -> String {
    match error.code.as_str() {
        codes::NOT_FOUND => "it has no such image from here".to_owned(),
        code if listener != Listener::House => code.to_owned(),
        code => format!("{code}: {}", said(&error.message, SENTENCE_LETTERS_MAX)),
    }
}

/// A partner, and what is known here of its copy; with why it did not tell its steps, unless it did.
async fn witness(app: &App, partner: &Partner, image: ImageId, why: String) -> Result<Witness, Failure> {
    let replicas = app.catalog.replicas(image).await.map_err(|error| internal(&error))?;
    let there = replicas.into_iter().filter(|it| it.partner == partner.domain);
    let last: Option<ReplicaRecord> = there.max_by_key(|it| it.checked);
    Ok(Witness {
        domain: partner.domain,
        name: partner.name.clone(),
        via: String::new(),
        answered: why.is_empty(),
        cut: false,
        why,
        last_known: last.as_ref().map(|it| it.state.to_string()).unwrap_or_default(),
        as_of: last.map(|it| time_out(it.checked)),
        age_seconds: None,
    })
}

/// Takes what a partner tells, by the clock and the names here.
struct Hearing<'a> {
    app: &'a App,
    partners: &'a [Partner],
    /// Those that are heard directly: nobody else tells of them.
    asked: &'a BTreeSet<DomainId>,
    teller: &'a Partner,
}

impl Hearing<'_> {
    fn take(&self, told: Told, whole: &mut Told) {
        for step in told.steps.into_iter().rev().take(TIMELINE_STEPS_MAX).rev() {
            let step = self.step(&step);
            if self.may_tell_of(step.domain) && !whole.steps.iter().any(|known| is_same(known, &step)) {
                whole.steps.push(step);
            }
        }
        for domain in told.domains.into_iter().take(TIMELINE_DOMAINS_MAX) {
            let is_beyond = domain.domain != self.teller.domain && self.may_tell_of(domain.domain);
            let known = whole.domains.iter_mut().find(|it| it.domain == domain.domain);
            match known {
                // Two ways lead there, and one of them was heard.
                Some(known) if is_beyond && domain.answered && !known.answered => {
                    *known = self.witness(&domain);
                }
                None if is_beyond => whole.domains.push(self.witness(&domain)),
                _ => {}
            }
        }
    }

    fn may_tell_of(&self, domain: DomainId) -> bool {
        domain == self.teller.domain || !self.asked.contains(&domain)
    }

    fn step(&self, step: &Step) -> Step {
        let name = |text: &str| said(text, TIMELINE_NAME_LETTERS_MAX);
        Step {
            domain_name: self.name(step.domain, &step.domain_name),
            via: self.via(step.domain),
            what: name(&step.what),
            state: name(&step.state),
            began: self.here(step.began),
            ended: step.ended.map(|at| self.here(at)),
            why: said(&step.why, SENTENCE_LETTERS_MAX),
            ..step.clone()
        }
    }

    fn witness(&self, witness: &Witness) -> Witness {
        Witness {
            name: self.name(witness.domain, &witness.name),
            via: self.via(witness.domain),
            why: said(&witness.why, SENTENCE_LETTERS_MAX),
            last_known: said(&witness.last_known, TIMELINE_NAME_LETTERS_MAX),
            as_of: witness.as_of.map(|at| self.here(at)),
            ..witness.clone()
        }
    }

    /// What a domain is called here. One that is not known here has the teller's name for it, and never one that
    /// another has here.
    fn name(&self, domain: DomainId, called: &str) -> String {
        let is_known = domain == self.app.who.domain || self.partners.iter().any(|it| it.domain == domain);
        if is_known {
            return name_of(self.app, self.partners, domain);
        }
        let called = said(called, TIMELINE_NAME_LETTERS_MAX);
        let is_taken = called == self.app.who.name || self.partners.iter().any(|it| it.name == called);
        if is_taken { format!("{}/{called}", self.teller.name) } else { called }
    }

    fn via(&self, domain: DomainId) -> String {
        if domain == self.teller.domain { String::new() } else { self.teller.name.clone() }
    }

    fn here(&self, at: jiff::Timestamp) -> jiff::Timestamp {
        time_out(plus_millis(time_in(at), self.teller.skew_ms.unwrap_or(0).saturating_neg()))
    }
}

/// The same step, told by two.
fn is_same(known: &Step, step: &Step) -> bool {
    let apart = since(time_in(known.began), time_in(step.began))
        .max(since(time_in(step.began), time_in(known.began)));
    known.domain == step.domain
        && known.via != step.via
        && (&known.what, &known.state, known.took_ms) == (&step.what, &step.state, step.took_ms)
        && known.wire_bytes == step.wire_bytes
        && apart <= SAME_STEP
}

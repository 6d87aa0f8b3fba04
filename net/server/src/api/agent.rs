//! The agent on a client: asks for its runs, says that it lives, says how they end.

use std::time::Duration;

use axum::{
    Router,
    extract::{Path, State},
    routing::{get, post},
};
use narrows_api::{
    agent::{EndRequest, HookOrder, NextRequest, Outcome, RunOrder, RunWork, Selection},
    limits::WAIT_SECONDS_MAX,
    paths,
    policies::RunInfo,
};
use narrows_domain::{
    Catalog as _,
    operation::Note,
    policy::{Hook, Policy, RunOutcome},
    primary::Working,
    storage::Client,
};
use tokio::time::Instant;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, not_found},
    caller::{ClientCaller, not_allowed},
    policies,
};

/// Longest code and sentence that a client may say of a run, in characters.
const CODE_CHARS: usize = 32;
const SENTENCE_CHARS: usize = 2000;

/// The routes of this file.
pub fn routes() -> Router<App> {
    Router::new()
        .route(paths::AGENT_NEXT, post(next))
        .route(paths::AGENT_BEAT, post(beat))
        .route(paths::AGENT_END, post(end))
        .route(paths::AGENT_POLICY, get(selection))
}

/// The client of this domain that asks.
pub async fn own_client(app: &App, caller: &ClientCaller) -> Result<Client, Failure> {
    if caller.domain != app.who.domain {
        return Err(not_allowed("a client of this domain"));
    }
    let client = app.catalog.client(caller.client).await.map_err(|error| internal(&error))?;
    client.ok_or_else(|| not_allowed("an enrolled client"))
}

/// Who works on what.
pub fn working(client: &Client, RunWork { run, attempt, session }: RunWork) -> Working {
    Working { client: client.id, run, attempt, session }
}

async fn next(
    State(app): State<App>,
    caller: ClientCaller,
    Body(request): Body<NextRequest>,
) -> Answer<Option<RunOrder>> {
    let client = own_client(&app, &caller).await?;
    let offers = app.offers.of(client.id);
    let patience = Duration::from_secs(u64::from(request.wait_seconds.min(WAIT_SECONDS_MAX)));
    let deadline = Instant::now() + patience;
    loop {
        // An image that the log has is made, whatever became of who made it.
        app.caught_up().await?;
        let (id, session) = (client.id, request.session);
        let claim = app.control.act(move |primary, now| {
            Box::pin(async move { Ok((primary.claim_run(id, session, now).await?, Vec::new())) })
        });
        if let Some((numbered, stored)) = claim.await? {
            let work = RunWork { run: numbered.number, attempt: numbered.run.attempt, session };
            tracing::info!(
                run = numbered.number,
                client = client.name,
                policy = stored.policy.name,
                "a run begins"
            );
            return good(Some(order(work, &client, &numbered.run.key.schedule, &stored.policy)));
        }
        if tokio::time::timeout_at(deadline, offers.notified()).await.is_err() {
            return good(None);
        }
    }
}

fn order(work: RunWork, client: &Client, schedule: &str, policy: &Policy) -> RunOrder {
    let hook = |hook: Option<&Hook>| {
        hook.map(|hook| HookOrder { run: hook.run.clone(), timeout_seconds: hook.timeout.span().as_secs() })
    };
    RunOrder {
        work,
        policy: policy.name.clone(),
        schedule: schedule.to_owned(),
        client: client.name.clone(),
        selection: selected(policy),
        before: hook(policy.hook_before(schedule)),
        after: hook(policy.hook_after(schedule)),
    }
}

fn selected(policy: &Policy) -> Selection {
    Selection {
        paths: policy.paths.clone(),
        exclude: policy.exclude.clone(),
        one_file_system: policy.one_file_system,
    }
}

async fn beat(State(app): State<App>, caller: ClientCaller, Body(work): Body<RunWork>) -> Answer<()> {
    let working = working(&own_client(&app, &caller).await?, work);
    let heard = app.control.act(move |primary, now| {
        Box::pin(async move { Ok((primary.hear_run(working, now).await?, Vec::new())) })
    });
    good(heard.await?)
}

/// What a client or a partner says, as it may be stored and printed.
pub(crate) fn said(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

async fn end(
    State(app): State<App>,
    caller: ClientCaller,
    Body(request): Body<EndRequest>,
) -> Answer<RunInfo> {
    let client = own_client(&app, &caller).await?;
    let working = working(&client, request.work);
    let note =
        Note { code: said(&request.code, CODE_CHARS), sentence: said(&request.sentence, SENTENCE_CHARS) };
    let outcome = match request.outcome {
        Outcome::Done => RunOutcome::Done,
        Outcome::Partial => RunOutcome::Partial(note),
        Outcome::Failed => RunOutcome::Failed(note),
    };
    app.caught_up().await?;
    let ended = app
        .control
        .act(move |primary, now| Box::pin(async move { primary.end_run(working, outcome, now).await }));
    let run = ended.await?;
    tracing::info!(run = request.work.run, client = client.name, state = %run.state, "a run ended");
    good(policies::one_run(&app, request.work.run).await?)
}

/// GET: what a policy that names the caller backs up.
async fn selection(
    State(app): State<App>,
    caller: ClientCaller,
    Path(name): Path<String>,
) -> Answer<Selection> {
    let client = own_client(&app, &caller).await?;
    let known = app.catalog.policies().await.map_err(|error| internal(&error))?;
    let named = known.iter().map(|stored| &stored.policy).find(|policy| policy.name == name);
    // Whether there is one that is for others is none of its business.
    let named = named.filter(|policy| policy.clients.contains(&client.name));
    good(selected(named.ok_or_else(|| not_found("policy for this client", &name))?))
}

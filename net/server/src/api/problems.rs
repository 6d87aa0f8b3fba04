//! What is amiss by what is known here; `doctor` asks the other sides too.

use std::sync::Arc;

use axum::extract::State;
use narrows_api::{
    error::codes,
    server::{Finding, Level, ProblemFilter},
    size::counted,
    text::time_out,
};
use narrows_catalog::{Amiss, AmissBy};
use narrows_domain::{
    Catalog as _, Import, ImportState,
    catalog::BacklogLine,
    image::label,
    import::DAMAGED,
    limits::REFUSAL_SHOWN,
    machine::{arrival::UNPROVEN, placing},
    moment::{before, since},
    operation::{Operation, OperationState, WaitReason},
    partner::{Partner, Reach, Trust},
    replica::ReplicaState,
    retry::NO_VERSION,
    storage::{MediaServer, Pool, PoolTrouble},
    topology::OwnStorage,
};
use narrows_format::Timestamp;

use super::{
    App,
    answer::{Answer, Failure, Params, good, internal},
    caller::{Admin, DECIDE},
    clients::{self, Named},
    damage,
    domains::name_of,
    ending,
    images::image_name,
    jobs::why,
    policies,
    pools::soon_full,
    releases, short, slps,
};
use crate::{
    comparing,
    limits::{IMPORTS_LISTED_MAX, LISTED_MAX, PROBLEMS_LISTED, SKEW_MS_WARNING},
    pools,
    servers::link::{Found, Link},
};

/// GET the list.
pub async fn list(
    State(app): State<App>,
    _admin: Admin,
    Params(filter): Params<ProblemFilter>,
) -> Answer<Vec<Finding>> {
    app.caught_up().await?;
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let limit = filter.limit.unwrap_or(PROBLEMS_LISTED).min(LISTED_MAX);
    good(found(&app, &partners, limit).await?)
}

/// Everything, worst first; of each kind so many, and how many more there are.
pub async fn found(app: &App, partners: &[Partner], limit: u32) -> Result<Vec<Finding>, Failure> {
    let mut problems = Vec::new();
    problems.extend(reconciling(app, partners).await?);
    problems.extend(of_servers(app));
    problems.extend(ending::problems(app, partners));
    for pool in app.catalog.pools().await.map_err(|error| internal(&error))? {
        match pools::how(&app.plane, &app.pools, &pool).await {
            (Some(trouble), _) => problems.push(of_pool(app, &pool, trouble)),
            (None, Some(space)) => problems.extend(soon_full(app, &pool, &space).await?),
            (None, None) => {}
        }
        problems.extend(damage::found(app, &pool).await?);
    }
    problems.extend(shared(app, partners).await?);
    for partner in partners {
        problems.extend(silent(partner));
        problems.extend(missed(app, partner).await?);
        problems.extend(damaged(app, partner).await?);
    }
    let now = app.clock.now();
    let pending_by = before(now, app.config.domain.pending_import_max);
    let by = AmissBy { pending: pending_by, refused: before(now, REFUSAL_SHOWN), now };
    let amiss = app.catalog.amiss(by).await.map_err(|error| internal(&error))?;
    problems.extend(lost_here(app, amiss));
    let unconfirmed = app.catalog.pending_count(pending_by).await.map_err(|error| internal(&error))?;
    for (kind, listed, all) in [
        ("images without copies", without_copies(app, partners, (now, limit)).await?, amiss.without_copies),
        ("imports", stuck(app, pending_by, limit).await?, amiss.imports),
        ("refused imports", refused(app, limit).await?, amiss.refusals),
        ("failed operations", stopped(app, partners, limit).await?, amiss.failed),
        ("unconfirmed imports", pending(app, partners, (pending_by, limit)).await?, unconfirmed),
    ] {
        let left = more(app, kind, (listed.len(), all));
        problems.extend(listed.into_iter().chain(left));
    }
    problems.extend(untaken(app, partners).await?);
    problems.extend(releases::cancelled(app, partners).await?);
    problems.extend(slps::not_verified(app).await?);
    let ending = clients::ending(app).await?.into_iter();
    problems.extend(ending.filter(|(named, _)| *named == Named::ByPolicy).map(|(_, problem)| problem));
    for run in policies::unmade(app).await? {
        let message = if run.why.is_empty() { run.state } else { format!("{}: {}", run.state, run.why) };
        let help = format!("`narrowsctl policy run {} --client {}` makes it up", run.policy, run.client_name);
        let check = format!("policy {} of {}", run.policy, run.client_name);
        problems.push(finding(&run.code, check, &app.who.name, message, &help));
    }
    problems.sort_by_key(|problem| problem.level);
    Ok(problems)
}

/// Images whose last copy here went with a media server.
fn lost_here(app: &App, Amiss { lost, held_elsewhere, .. }: Amiss) -> Option<Finding> {
    let images =
        counted(lost, "image was lost and has no copy here", "images were lost and have no copy here");
    let elsewhere = counted(held_elsewhere, "of them is at a partner", "of them are at partners");
    let message = format!("{images}; {elsewhere}");
    let help = "`narrowsctl image list --state lost` names them, `narrowsctl image recall` brings back what a partner has, and \
                `narrowsctl image accept-loss` accepts what nobody has";
    (lost > 0).then(|| finding("", "lost images".to_owned(), &app.who.name, message, help))
}

/// Images of which no copy is left that is known of, because partners have lost theirs.
async fn without_copies(
    app: &App,
    partners: &[Partner],
    (now, limit): (Timestamp, u32),
) -> Result<Vec<Finding>, Failure> {
    let images = app.catalog.without_copies(now, limit).await.map_err(|error| internal(&error))?;
    let mut problems = Vec::with_capacity(images.len());
    for image in images {
        let replicas = app.catalog.replicas(image.id).await.map_err(|error| internal(&error))?;
        let missed = replicas.iter().filter(|it| it.is_missed(now));
        let missed: Vec<_> = missed
            .map(|it| {
                let name = name_of(app, partners, it.partner);
                let until = if it.state == ReplicaState::Lost { it.expires } else { it.agreed };
                let until = until.map(|until| format!(", which was to live until {}", time_out(until)));
                let how = if it.state == ReplicaState::Lost { "is lost" } else { "went early" };
                format!("the one in domain {name}{} {how}", until.unwrap_or_default())
            })
            .collect();
        let copies = app.catalog.copies(image.id).await.map_err(|error| internal(&error))?;
        let is_recoverable = copies.iter().any(|copy| copy.discarded.is_some_and(|it| it.until > now));
        let help = if is_recoverable {
            "`narrowsctl image undelete` brings back the one that was here, `narrowsctl image replicate` then sends it"
        } else {
            "`narrowsctl image accept-loss` accepts it"
        };
        let message = format!("no copy of it is known to be left: {}", missed.join(" and "));
        let check = format!("image {}", image_name(app, partners, &image));
        problems.push(finding("", check, &app.who.name, message, help));
    }
    Ok(problems)
}

/// What the list of one kind left out.
fn more(app: &App, kind: &str, (listed, all): (usize, u64)) -> Option<Finding> {
    let left = all.checked_sub(listed as u64).filter(|left| *left > 0)?;
    let message = format!("{left} more are not listed");
    let help = format!("`narrowsctl problem list --limit {}` lists more", all.min(u64::from(LISTED_MAX)));
    Some(finding("", kind.to_owned(), &app.who.name, message, &help))
}

/// An error.
pub fn finding(code: &str, check: String, side: &str, message: String, help: &str) -> Finding {
    Finding {
        level: Level::Error,
        code: code.to_owned(),
        check,
        side: side.to_owned(),
        message,
        help: help.to_owned(),
    }
}

/// A pool that takes nothing.
pub fn of_pool(app: &App, pool: &Pool, trouble: PoolTrouble) -> Finding {
    let (name, away) = (&pool.name, app.plane.away(pool.id));
    let open = format!("`narrowsctl pool open {name}`");
    let is_drained = trouble.code == placing::BUSY;
    let help = match (trouble.code.as_str(), &away) {
        ("POOL-002", _) => format!(
            "make room on its file system, let SLPs name another storage unit, or set what is to stay free: `narrowsctl pool set {name}`"
        ),
        ("POOL-004", _) => format!("find out what the disk has, then {open}"),
        (_, Some(link)) if is_drained => {
            format!(
                "that is as it was wished; `narrowsctl media-server drain {} --undo` ends it",
                link.row().name
            )
        }
        (_, Some(link)) if is_silent(link) => start_it(link),
        (_, None) if trouble.readable => "mend what it names, then start the server again".to_owned(),
        _ => format!("mend what it names, then {open}"),
    };
    let problem = finding(&trouble.code, format!("pool {name}"), &app.who.name, trouble.sentence, &help);
    if is_drained { Finding { level: Level::Warning, ..problem } } else { problem }
}

fn is_silent(link: &Link) -> bool {
    !matches!(link.found(), Found::Up { .. })
}

fn start_it(link: &Link) -> String {
    let MediaServer { name, url, .. } = link.row();
    format!("start `narrowsd` on media server `{name}`, which was at {url} last")
}

/// Media servers that do not answer, with or without pools, or whose clocks are off.
pub fn of_servers(app: &App) -> Vec<Finding> {
    let of_server = |link: Arc<Link>| {
        let name = link.row().name;
        let check = format!("media server {name}");
        match link.found() {
            Found::Down { code, why, .. } if code == NO_VERSION => {
                Some(finding(NO_VERSION, check, &app.who.name, why, "update the older of the two"))
            }
            Found::Down { why, .. } => {
                let message = format!("does not answer: {why}");
                Some(finding(codes::UNREACHABLE, check, &app.who.name, message, &start_it(&link)))
            }
            Found::Up { skew_ms, .. } if skew_ms.abs() > SKEW_MS_WARNING => {
                let message = format!("its clock is {skew_ms} ms off");
                let help = format!("let `{name}` and this server take their time from one source");
                let problem = finding("", check, &app.who.name, message, &help);
                Some(Finding { level: Level::Warning, ..problem })
            }
            Found::Up { .. } | Found::NotAsked => None,
        }
    };
    app.servers.all().into_iter().filter_map(of_server).collect()
}

/// A partner that nothing can be done with.
fn silent(partner: &Partner) -> Option<Finding> {
    let (code, message, help) = match (partner.trust, &partner.reach) {
        (Trust::Half, _) => {
            ("TRUST-001", "the pairing is half-made".to_owned(), "pair again, or wait for the other side")
        }
        (Trust::Expired, _) => ("AUTH-002", "its certificate has expired".to_owned(), "renew it there"),
        (Trust::Frozen, _) => ("TRUST-003", "its identity is in doubt".to_owned(), DECIDE),
        (Trust::Complete, Reach::Down { code, sentence, .. }) if code == NO_VERSION => (
            code.as_str(),
            sentence.clone(),
            "update the older of the two; what waits for it then goes on by itself",
        ),
        (Trust::Complete, Reach::Down { code, sentence, .. })
            if partner.reach.is_refusal() && partner.reach.answers() =>
        {
            (
                code.as_str(),
                format!("takes nothing: {sentence}"),
                "mend it there; what waits for it then goes on by itself",
            )
        }
        (Trust::Complete, Reach::Down { code, sentence, .. }) => (
            code.as_str(),
            format!("does not answer: {sentence}"),
            "`narrowsctl doctor` checks both ends; where a server is it tells its partners when it starts",
        ),
        _ => return None,
    };
    Some(finding(code, "partner".to_owned(), &partner.name, message, help))
}

/// Partners that say to receive with what stores for this domain.
pub async fn shared(app: &App, partners: &[Partner]) -> Result<Vec<Finding>, Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let servers: Vec<_> = app.servers.all().iter().map(|link| link.row()).collect();
    let data_address = app.config.data_addr();
    let own = OwnStorage { data_address: &data_address, servers: &servers, pools: &pools };
    let known = partners.iter().filter(|it| it.trust != Trust::Unpaired);
    let of_partner = |partner: &Partner| {
        let message = own.shared_with(partner)?;
        let help = format!("let another pool receive in domain `{}`, on a server of its own", partner.name);
        Some(finding("TOPO-001", "storage".to_owned(), &partner.name, message, &help))
    };
    Ok(known.filter_map(of_partner).collect())
}

/// Images whose copy at the partner is gone with the pool that held it, or goes earlier than was agreed.
async fn missed(app: &App, partner: &Partner) -> Result<Vec<Finding>, Failure> {
    if partner.trust == Trust::Unpaired {
        return Ok(Vec::new());
    }
    let missed = app.catalog.missed(partner.domain, app.clock.now());
    let missed = missed.await.map_err(|error| internal(&error))?;
    let name = &partner.name;
    let images = counted(missed.lost, "image has lost its copy", "images have lost their copy");
    let message = format!("{images} in domain {name}");
    let help = format!("`narrowsctl image replicate --missing --to-domain {name}` sends them again");
    let lost = (missed.lost > 0).then(|| finding("", "replicas".to_owned(), name, message, &help));
    Ok(lost.into_iter().chain(short::problem(partner, &missed)).collect())
}

/// Images whose copy at the partner was found damaged there, and is there still by what is known.
async fn damaged(app: &App, partner: &Partner) -> Result<Option<Finding>, Failure> {
    if partner.trust == Trust::Unpaired {
        return Ok(None);
    }
    let found =
        app.catalog.replicas_checked(Some(partner.domain), Some(ReplicaState::Damaged), IMPORTS_LISTED_MAX);
    let (found, now) = (found.await.map_err(|error| internal(&error))?, app.clock.now());
    let count = found.iter().filter(|replica| replica.lives(now)).count();
    let name = &partner.name;
    let message = format!("{} damaged in domain {name}", counted(count, "image is", "images are"));
    let help = "`narrowsctl replica list --state damaged` names them";
    Ok((count > 0).then(|| finding("POOL-001", "replicas".to_owned(), name, message, help)))
}

/// The catalog was found older than its pool.
async fn reconciling(app: &App, partners: &[Partner]) -> Result<Option<Finding>, Failure> {
    let open = app.catalog.reconciling().await.map_err(|error| internal(&error))?;
    let Some(open) = open else { return Ok(None) };
    let waits = comparing::waits_for(app, partners).await?.join(", ");
    let message = format!(
        "it was found older than it was ({}); nothing expires until it was compared with: {waits}",
        open.why
    );
    let help = "make them reachable, or go on without them: `narrowsctl catalog reconcile --force`";
    Ok(Some(finding("", "catalog".to_owned(), &app.who.name, message, help)))
}

/// Arrivals that are not in the catalog, for a reason that somebody has to mend or for too long, and damaged ones.
async fn stuck(app: &App, pending_by: Timestamp, limit: u32) -> Result<Vec<Finding>, Failure> {
    let imports = app.catalog.stuck_imports(pending_by, limit).await.map_err(|error| internal(&error))?;
    Ok(imports.iter().map(|import| stuck_one(app, import)).collect())
}

fn stuck_one(app: &App, import: &Import) -> Finding {
    let record = &import.arrival.record;
    let note = import.note.as_ref();
    let code = note.map(|note| note.code.clone()).unwrap_or_default();
    let (code, message, help) = match import.state {
        ImportState::Imported => {
            let damage = import.damage.as_deref().unwrap_or("nobody said how");
            let help = "it is mended by itself where another domain grants `heal`; `narrowsctl pool damage` says more";
            (DAMAGED.to_owned(), format!("its copy here is damaged: {damage}"), help)
        }
        ImportState::Failed { .. } | ImportState::GivenUp | ImportState::Refused => {
            (code, note.map(why).unwrap_or_default(), "`narrowsctl import list --open` says more")
        }
        ImportState::Pending | ImportState::Waiting { .. } => {
            let age = since(app.clock.now(), import.arrived);
            let because = note.map(|note| format!(": {}", why(note))).unwrap_or_default();
            let message = format!("it has been pending for {} h{because}", age.as_secs() / 3600);
            (code, message, "mend the cause, then `narrowsctl import retry`")
        }
    };
    let check = format!("import of {}", label(&record.client_name, record.started));
    finding(&code, check, &app.who.name, message, help)
}

/// What partners brought and was not let in lately.
async fn refused(app: &App, limit: u32) -> Result<Vec<Finding>, Failure> {
    let now = app.clock.now();
    let refusals = app.catalog.refusals(limit).await.map_err(|error| internal(&error))?;
    let lately = refusals.into_iter().filter(|it| it.is_recent(now));
    let found = lately.map(|it| {
        let times = if it.times == 1 { "once".to_owned() } else { format!("{} times", it.times) };
        let message = format!("refused {times}, nothing of it is here: {}", why(&it.note));
        let help = "`narrowsctl import list` says more; its sender sends it again once the cause is mended";
        finding(&it.note.code, format!("import of {}", it.label), &app.who.name, message, help)
    });
    Ok(found.collect())
}

/// Operations that stopped for good: nothing comes of them before a person has dealt with them.
async fn stopped(app: &App, partners: &[Partner], limit: u32) -> Result<Vec<Finding>, Failure> {
    let failed = app.catalog.failed_operations(limit).await.map_err(|error| internal(&error))?;
    let mut problems = Vec::with_capacity(failed.len());
    for operation in failed {
        let message = operation.note.as_ref().map(why).unwrap_or_default();
        let help = "mend the cause, then `narrowsctl image replicate` sends it again; or `narrowsctl image release` lets it be";
        let check = title(app, partners, &operation).await?;
        problems.push(finding(operation.state.detail(), check, &app.who.name, message, help));
    }
    Ok(problems)
}

/// How AIR-012 is mended.
const RELAY: &str = "`narrowsctl domain grant NAME 'relay(UUID=KEY)'` there; `narrowsctl domain show` in the domain that made the images \
                     tells both";

/// Partners that are trusted and answer, and do not take all images: a grant of theirs lacks, or a proof; or what receives there
/// speaks another version than the partner itself.
async fn untaken(app: &App, partners: &[Partner]) -> Result<Vec<Finding>, Failure> {
    let [trust, down] = [WaitReason::Trust, WaitReason::TargetDown].map(OperationState::Waiting);
    let backlog = app.catalog.backlog().await.map_err(|error| internal(&error))?;
    let takes = |line: &BacklogLine, it: &Partner| {
        let fits = line.state == trust || line.state == down && it.reach == Reach::Up;
        it.domain == line.partner && it.trust == Trust::Complete && fits
    };
    let lines: Vec<_> = backlog.iter().filter(|line| partners.iter().any(|it| takes(line, it))).collect();
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let open =
        app.catalog.unfinished_operations(IMPORTS_LISTED_MAX).await.map_err(|error| internal(&error))?;
    let found = lines.into_iter().filter_map(|line| {
        let note = |it: &Operation| {
            let is_one = it.state == line.state && it.target.as_ref()?.partner == line.partner;
            it.note.clone().filter(|_| is_one)
        };
        let mut notes = open.iter().filter_map(note);
        let name = name_of(app, partners, line.partner);
        let (note, waits_for, mend) = if line.state == trust {
            let note = notes.next();
            let is_proof = note.as_ref().is_some_and(|note| note.code == UNPROVEN);
            let mend = if is_proof { RELAY } else { "`narrowsctl domain grant` there" };
            (note, "its trust", mend)
        } else {
            // Others wait for their next try, which is no problem.
            let note = notes.find(|note| note.code == NO_VERSION)?;
            (
                Some(note),
                "a version that is spoken there",
                "update what receives there, a media server perhaps",
            )
        };
        let because = note.as_ref().map(|note| format!(": {}", why(note))).unwrap_or_default();
        let images = counted(line.operations, "image waits", "images wait");
        let message = format!("{images} for {waits_for}{because}");
        let help = format!("mend it in `{name}`: {mend}; they are then sent by themselves");
        let code = note.map(|note| note.code).unwrap_or_default();
        Some(finding(&code, format!("replication to {name}"), &name, message, &help))
    });
    Ok(found.collect())
}

/// Images that arrived over there and are not confirmed for longer than they should be.
async fn pending(
    app: &App,
    partners: &[Partner],
    (pending_by, limit): (Timestamp, u32),
) -> Result<Vec<Finding>, Failure> {
    let pending = app.catalog.pending_since(pending_by, limit).await.map_err(|error| internal(&error))?;
    let mut problems = Vec::with_capacity(pending.len());
    for operation in pending {
        let note = operation.note.as_ref();
        let because = note.map(|note| format!(": {}", why(note))).unwrap_or_default();
        let pending = operation.pending_since.unwrap_or(operation.since);
        let hours = since(app.clock.now(), pending).as_secs() / 3600;
        let message = format!("its import has been pending for {hours} h{because}");
        let side = operation.target.as_ref().map(|target| name_of(app, partners, target.partner));
        let code = note.map(|note| note.code.clone()).unwrap_or_default();
        let check = title(app, partners, &operation).await?;
        let help = "`narrowsctl import list` there says why";
        problems.push(finding(&code, check, &side.unwrap_or_default(), message, help));
    }
    Ok(problems)
}

/// What an operation does, for people.
async fn title(app: &App, partners: &[Partner], operation: &Operation) -> Result<String, Failure> {
    let image = app.catalog.image(operation.key.image).await.map_err(|error| internal(&error))?;
    let image = image.map_or_else(|| operation.key.image.to_string(), |image| image.label());
    let target = operation.target.as_ref().map(|target| name_of(app, partners, target.partner));
    let to = target.as_ref().map(|name| format!(" to {name}")).unwrap_or_default();
    Ok(format!("{} of {image}{to}", operation.kind))
}

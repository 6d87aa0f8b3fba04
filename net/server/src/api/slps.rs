//! Lifecycle policies: apply, list, show.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use futures_util::{
    future::{join_all, try_join_all},
    try_join,
};
use narrows_api::{
    ApiError,
    error::codes,
    partner, paths,
    server::{Finding as Problem, Level},
    slps::{
        ApplyReply, ApplyRequest, Difference, Format, Hold, SlpInfo, SlpOperation, TargetUse, VersionUse,
    },
    text::{hex, time_out},
};
use narrows_domain::{
    Catalog as _, Partner,
    primary::Applying,
    slp::{
        self, Finding, PartnerSlp, Slp, SlpVersion,
        check::LocalCopy,
        difference::{self, retention_words, target_words},
        version::{Plan, Unverified},
    },
};
use narrows_format::DomainId;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, not_found},
    caller::Admin,
    doctor, slp_orders,
};
use crate::{hands, time};

/// GET the list.
pub async fn list(State(app): State<App>, _admin: Admin) -> Answer<Vec<SlpInfo>> {
    let mut infos = Vec::new();
    for version in app.catalog.slps().await.map_err(|error| internal(&error))? {
        infos.push(info(&app, version).await?);
    }
    good(infos)
}

/// GET one.
pub async fn show(State(app): State<App>, _admin: Admin, Path(name): Path<String>) -> Answer<SlpInfo> {
    let version = app.catalog.slp(&name, None).await.map_err(|error| internal(&error))?;
    let version = version.ok_or_else(|| not_found("SLP", &name))?;
    good(info(&app, version).await?)
}

/// POST: applies or plans one. The import SLPs that it names are looked up at the partners first.
pub async fn apply(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<ApplyRequest>,
) -> Answer<ApplyReply> {
    let wanted = slp::parse(&request.text, format_of(request.format))
        .map_err(|bad| unreadable(&request.file, &bad))?;
    let before = app.catalog.slp(&wanted.name, None).await.map_err(|error| internal(&error))?;
    let said = ask_slps(&app, &wanted).await?;
    let (mut findings, partner_slps) =
        try_join!(reached(&app, &wanted, &said), as_reached(&app, said.clone()))?;
    let (theirs, unasked) = reclassified(&app, before.as_ref(), &wanted).await?;
    findings.extend(unasked);
    let how = Applying {
        partner_slps,
        theirs,
        local_copy: if request.accept_no_local_copy { LocalCopy::NotNeeded } else { LocalCopy::Needed },
        unverified: if request.unverified { Unverified::Accept } else { Unverified::Refuse },
    };
    let differences = differences(before.as_ref(), &wanted);
    let plan = match (request.plan, request.in_place) {
        (true, false) => app.control.plan_slp(wanted.clone(), how).await?,
        (false, false) => app.control.apply_slp(wanted.clone(), how).await?,
        (true, true) => app.control.plan_in_place(wanted.clone(), how).await?,
        (false, true) => app.control.apply_in_place(wanted.clone(), how).await?,
    };
    let applied = !request.plan;
    match plan {
        Plan::Refused(found) => {
            let mut errors = found.iter().map(|finding| error(&request.file, finding)).collect::<Vec<_>>();
            if !request.plan {
                return Err(all_in_one(errors, "slp").into());
            }
            let version = before.unwrap_or_else(|| unstored(wanted));
            errors.dedup();
            let slp = info(&app, version).await?;
            let change = "refused".to_owned();
            good(ApplyReply { slp, change, applied: false, differences, findings, errors })
        }
        Plan::Unchanged(version) => {
            let slp = info(&app, version).await?;
            let change = "unchanged".to_owned();
            good(ApplyReply { slp, change, applied, differences: Vec::new(), findings, errors: Vec::new() })
        }
        Plan::Store(version) => {
            let change = match (&before, request.in_place) {
                (None, _) => "created",
                (Some(_), false) => "changed",
                (Some(_), true) => "changed in place",
            }
            .to_owned();
            let slp = info(&app, version).await?;
            good(ApplyReply { slp, change, applied, differences, findings, errors: Vec::new() })
        }
    }
}

/// How a text is written, in the domain's words.
pub(super) const fn format_of(format: Format) -> slp::Format {
    match format {
        Format::Toml => slp::Format::Toml,
        Format::Json => slp::Format::Json,
    }
}

fn unreadable(file: &str, bad: &slp::Unreadable) -> Failure {
    let place = match file {
        "" => format!("line {}, column {}", bad.line, bad.column),
        file => format!("{file}:{}:{}", bad.line, bad.column),
    };
    ApiError::new(codes::MALFORMED, format!("this is no SLP: {}", bad.message)).at(place).into()
}

/// A finding as an error, with the file's name.
pub(super) fn error(file: &str, finding: &Finding) -> ApiError {
    let place = match file {
        "" => finding.place(),
        file => format!("{file}: {}", finding.place()),
    };
    ApiError::new(finding.code, finding.what.clone())
        .at(place)
        .because(finding.why)
        .help(finding.help.clone())
}

/// The first error, with a word on how many more there are.
pub(super) fn all_in_one(errors: Vec<ApiError>, noun: &str) -> ApiError {
    let more = errors.len().saturating_sub(1);
    let Some(mut first) = errors.into_iter().next() else {
        return ApiError::new(codes::INTERNAL, format!("the {noun} was refused without a reason"));
    };
    if more > 0 {
        first.help = format!("{} (and {more} more; `narrowsctl {noun} plan` shows all)", first.help);
    }
    first
}

fn unstored(slp: Slp) -> SlpVersion {
    SlpVersion { slp, version: 0, made: time::now(), targets: Vec::new(), verified: false }
}

/// What partners say of their SLPs.
type Said = BTreeMap<(DomainId, String), PartnerSlp>;

/// What partners say of the import SLPs that this one names, all asked at once. Where nothing could be brought to, nothing
/// is said.
pub async fn ask_partners(app: &App, wanted: &Slp) -> Result<Said, Failure> {
    as_reached(app, ask_slps(app, wanted).await?).await
}

/// What was said, but by partners whose data port is not reached.
async fn as_reached(app: &App, mut said: Said) -> Result<Said, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let asked = partners.iter().filter(|partner| has_answered(&said, partner)).map(async |partner| {
        let failure = hands::reach(app, partner).await.err()?;
        Some((partner.domain, format!("its data port is not reached: {}", failure.sentence)))
    });
    let shut: BTreeMap<_, _> = join_all(asked).await.into_iter().flatten().collect();
    for ((domain, _), answer) in &mut said {
        if let Some(why) = shut.get(domain) {
            *answer = PartnerSlp::Unreachable(why.clone());
        }
    }
    Ok(said)
}

fn has_answered(said: &Said, partner: &Partner) -> bool {
    let answers = said.iter().filter(|((domain, _), _)| *domain == partner.domain);
    answers.map(|(_, answer)| answer).any(|it| !matches!(it, PartnerSlp::Unreachable(_)))
}

async fn ask_slps(app: &App, wanted: &Slp) -> Result<Said, Failure> {
    let asked = app.control.slps_to_ask(wanted.clone()).await?.into_iter();
    let answers = asked.map(async |(domain, name)| {
        let said = look_up(app, domain, &name).await;
        said.map(|said| ((domain, name), said))
    });
    Ok(try_join_all(answers).await?.into_iter().collect())
}

/// SLPs of partners that import through one that is about to be reclassified, and who could not be asked of theirs.
async fn reclassified(
    app: &App,
    before: Option<&SlpVersion>,
    wanted: &Slp,
) -> Result<(Vec<String>, Vec<Problem>), Failure> {
    if before.is_none_or(|before| before.slp.data_classification == wanted.data_classification) {
        return Ok((Vec::new(), Vec::new()));
    }
    let (theirs, unasked) = slp_orders::ask_partners(app, &wanted.name).await?;
    let unasked = unasked.into_iter().map(|side| Problem {
        level: Level::Warning,
        code: "SLP-014".to_owned(),
        check: format!("slp {}", wanted.name),
        message: format!("`{side}` could not be asked whether its SLPs import through this one"),
        side,
        help: "images from there fail (AIR-003) where their classification is another one".to_owned(),
    });
    Ok((theirs, unasked.collect()))
}

/// Versions whose replications wait because a partner could not be asked when they were stored.
pub async fn not_verified(app: &App) -> Result<Vec<Problem>, Failure> {
    let versions = app.catalog.slp_versions().await.map_err(|error| internal(&error))?;
    let of_version = |SlpVersion { slp, version, .. }: SlpVersion| {
        Problem {
        level: Level::Error,
        code: "SLP-008".to_owned(),
        check: format!("slp {}", slp.name),
        side: app.who.name.clone(),
        message: format!("version {version} was stored with --unverified; its targets are still to be checked"),
        help: "that is done by itself when its partners answer; `narrowsctl doctor` tells what stands against it"
            .to_owned(),
    }
    };
    Ok(versions.into_iter().filter(|it| !it.verified).map(of_version).collect())
}

/// What a partner says about one of its SLPs.
pub async fn look_up(app: &App, domain: DomainId, name: &str) -> Result<PartnerSlp, Failure> {
    let known = app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
    let Some(known) = known else { return Ok(PartnerSlp::Unreachable("no such partner".to_owned())) };
    // Who is not believed is not asked: what is lacking in trust is a finding of its own.
    let api = app.partners.api(domain, &known.url, &known.name);
    let path = paths::PARTNER_SLP.replace("{name}", &percent(name));
    let said: Result<partner::PartnerSlp, _> = match api {
        Ok(api) => api.get(&path).await,
        Err(error) => Err(error),
    };
    Ok(match said {
        Ok(there) => {
            let partner::PartnerSlp { data_classification: classification, receives, units, .. } = there;
            PartnerSlp::Present { classification, receives, units }
        }
        Err(error) if error.code == codes::NOT_FOUND => PartnerSlp::Absent,
        Err(error) => PartnerSlp::Unreachable(error.message),
    })
}

/// A path segment: everything but letters, digits and `.-_~` as `%NN`.
pub(crate) fn percent(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex(&[byte]));
        }
    }
    text
}

/// What the partners that it replicates to have for it, and what else is amiss with those that answered.
async fn reached(app: &App, wanted: &Slp, said: &Said) -> Result<Vec<Problem>, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    // Where what goes to all finds no SLP, one may be made by itself.
    let absent = if wanted.operations.iter().any(slp::SlpOperation::goes_to_all) {
        (Level::Warning, "AIR-002", "apply it there, unless `auto-import` is granted there")
    } else {
        (Level::Error, "AIR-002", "apply it there")
    };
    let ways = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
    let takes = |answer: &PartnerSlp| matches!(answer, PartnerSlp::Present { receives: true, .. });
    let findings = said.iter().map(|((domain, name), answer)| {
        let side = super::domains::name_of(app, &partners, *domain);
        let mut ways = ways.iter().filter(|it| it.partner == *domain);
        let is_taken = takes(answer) || ways.any(|way| takes(&answer.clone().for_unit(&way.unit)));
        let ((level, code, help), message) = match answer {
            PartnerSlp::Present { .. } if is_taken => {
                ((Level::Ok, "", ""), format!("`{side}` has the SLP `{name}`"))
            }
            PartnerSlp::Present { .. } => (
                (Level::Warning, "AIR-004", "images are taken there by an Import into that unit"),
                format!("`{side}` has the SLP `{name}`, which does not import into the unit that receives from here"),
            ),
            PartnerSlp::Absent => (absent, format!("`{side}` has no SLP `{name}`")),
            PartnerSlp::Unreachable(why) => {
                ((Level::Warning, "", ""), format!("`{side}` could not be asked: {why}"))
            }
        };
        let [code, help] = [code, help].map(str::to_owned);
        Problem { level, code, check: format!("slp {name}"), side, message, help }
    });
    let mut findings: Vec<_> = findings.collect();
    let answered: Vec<_> = partners.iter().filter(|partner| has_answered(said, partner)).collect();
    findings.extend(doctor::amiss_with(app, &answered).await?);
    Ok(findings)
}

/// What differs from the version before; all of it when there is none.
fn differences(before: Option<&SlpVersion>, wanted: &Slp) -> Vec<Difference> {
    let nothing = || Slp { data_classification: String::new(), operations: Vec::new(), ..wanted.clone() };
    let before = before.map_or_else(nothing, |version| version.slp.clone());
    let found = difference::differences(&before, wanted).into_iter();
    found
        .map(|it| Difference {
            operation: it.operation.unwrap_or_default(),
            field: it.field.to_owned(),
            before: it.before.filter(|before| !before.is_empty()),
            after: it.after,
        })
        .collect()
}

/// Images that are not complete, by version and target.
async fn uses(app: &App, name: &str) -> Result<Vec<VersionUse>, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let mut versions: Vec<VersionUse> = Vec::new();
    for line in app.catalog.slp_use(name).await.map_err(|error| internal(&error))? {
        match (line.partner, versions.last_mut()) {
            (Some(partner), Some(last)) if last.version == line.version => {
                let domain = super::domains::name_of(app, &partners, partner);
                last.targets.push(TargetUse { domain, images: line.images });
            }
            _ => {
                let (version, images) = (line.version, line.images);
                versions.push(VersionUse { version, images, targets: Vec::new() });
            }
        }
    }
    Ok(versions)
}

/// One SLP as people see it.
pub(super) async fn info(app: &App, version: SlpVersion) -> Result<SlpInfo, Failure> {
    let unfinished = app.catalog.images_unfinished(&version.slp.name).await;
    let text = toml::to_string(&version.slp).map_err(|error| internal(&error))?;
    let holds = app.catalog.slp_holds().await.map_err(|error| internal(&error))?;
    let held = holds.iter().find(|hold| hold.slp == version.slp.name);
    let made = app.catalog.auto_slps().await.map_err(|error| internal(&error))?;
    let made_for = match made.iter().find(|made| made.slp == version.slp.name) {
        Some(made) => {
            let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
            Some(super::domains::name_of(app, &partners, made.partner))
        }
        None => None,
    };
    Ok(SlpInfo {
        version: version.version,
        applied: time_out(version.made),
        text,
        versions: uses(app, &version.slp.name).await?,
        made_for,
        held: held.map(|hold| Hold { until: hold.until.map(time_out) }),
        images_unfinished: unfinished.map_err(|error| internal(&error))?,
        operations: version.slp.operations.iter().map(operation).collect(),
        data_classification: version.slp.data_classification,
        priority: version.slp.priority,
        name: version.slp.name,
    })
}

fn operation(operation: &slp::SlpOperation) -> SlpOperation {
    let kind = narrows_domain::OperationKind::from(operation.kind);
    SlpOperation {
        id: operation.id.clone(),
        kind: kind.to_string(),
        source: operation.source.clone().unwrap_or_default(),
        storage: operation.storage.clone().unwrap_or_default(),
        target: operation.target.as_ref().map(target_words).unwrap_or_default(),
        retention: operation.retention.map(retention_words).unwrap_or_default(),
        window: operation.window.clone().unwrap_or_default(),
    }
}

//! Lifecycle policies: apply, list, show.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use narrows_api::{
    ApiError,
    error::codes,
    partner, paths,
    server::{self, Level},
    slps::{ApplyReply, ApplyRequest, Format, SlpInfo, SlpOperation},
    text::{hex, time_out},
};
use narrows_domain::{
    Catalog as _,
    primary::Applying,
    slp::{
        self, Finding, PartnerSlp, Slp, SlpVersion, TargetSpec,
        check::LocalCopy,
        version::{Plan, Unverified},
    },
};
use narrows_format::DomainId;

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal, not_found},
    caller::Admin,
};
use crate::time;

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
    let format = match request.format {
        Format::Toml => slp::Format::Toml,
        Format::Json => slp::Format::Json,
    };
    let wanted = slp::parse(&request.text, format).map_err(|bad| unreadable(&request.file, &bad))?;
    if request.in_place {
        let error = ApiError::new(codes::MALFORMED, "changing a version in place is not supported yet")
            .help("without --in-place a new version is made");
        return Err(error.into());
    }
    let partner_slps = ask_partners(&app, &wanted).await?;
    let findings = reached(&app, &partner_slps).await?;
    let how = Applying {
        partner_slps,
        local_copy: if request.accept_no_local_copy { LocalCopy::NotNeeded } else { LocalCopy::Needed },
        unverified: if request.unverified { Unverified::Accept } else { Unverified::Refuse },
    };
    let before = app.catalog.slp(&wanted.name, None).await.map_err(|error| internal(&error))?;
    let plan = if request.plan {
        app.control.plan_slp(wanted.clone(), how).await?
    } else {
        app.control.apply_slp(wanted.clone(), how).await?
    };
    match plan {
        Plan::Refused(found) => {
            let mut errors = found.iter().map(|finding| error(&request.file, finding)).collect::<Vec<_>>();
            if !request.plan {
                return Err(all_in_one(errors).into());
            }
            let version = before.unwrap_or_else(|| unstored(wanted));
            errors.dedup();
            let slp = info(&app, version).await?;
            good(ApplyReply { slp, change: "refused".to_owned(), applied: false, findings, errors })
        }
        Plan::Unchanged(version) => {
            let slp = info(&app, version).await?;
            let change = "unchanged".to_owned();
            good(ApplyReply { slp, change, applied: !request.plan, findings, errors: Vec::new() })
        }
        Plan::Store(version) => {
            let change = if before.is_some() { "changed" } else { "created" }.to_owned();
            let slp = info(&app, version).await?;
            good(ApplyReply { slp, change, applied: !request.plan, findings, errors: Vec::new() })
        }
    }
}

fn unreadable(file: &str, bad: &slp::Unreadable) -> Failure {
    let place = match file {
        "" => format!("line {}, column {}", bad.line, bad.column),
        file => format!("{file}:{}:{}", bad.line, bad.column),
    };
    ApiError::new(codes::MALFORMED, format!("this is no SLP: {}", bad.message)).at(place).into()
}

fn error(file: &str, finding: &Finding) -> ApiError {
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
fn all_in_one(errors: Vec<ApiError>) -> ApiError {
    let more = errors.len().saturating_sub(1);
    let Some(mut first) = errors.into_iter().next() else {
        return ApiError::new(codes::INTERNAL, "the SLP was refused without a reason");
    };
    if more > 0 {
        first.help = format!("{} (and {more} more; `narrowsctl slp plan` shows all)", first.help);
    }
    first
}

fn unstored(slp: Slp) -> SlpVersion {
    SlpVersion { slp, version: 0, made: time::now(), targets: Vec::new(), verified: false }
}

async fn ask_partners(app: &App, wanted: &Slp) -> Result<BTreeMap<(DomainId, String), PartnerSlp>, Failure> {
    let mut said = BTreeMap::new();
    for (domain, name) in app.control.slps_to_ask(wanted.clone()).await? {
        let answer = look_up(app, domain, &name).await?;
        said.insert((domain, name), answer);
    }
    Ok(said)
}

/// What a partner says about one of its SLPs.
pub async fn look_up(app: &App, domain: DomainId, name: &str) -> Result<PartnerSlp, Failure> {
    let known = app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
    let Some(known) = known else { return Ok(PartnerSlp::Unreachable("no such partner".to_owned())) };
    let api = app.partners.api(domain, &known.url, &known.name)?;
    let path = paths::PARTNER_SLP.replace("{name}", &percent(name));
    Ok(match api.get::<partner::PartnerSlp>(&path).await {
        Ok(there) => {
            PartnerSlp::Present { classification: there.data_classification, receives: there.receives }
        }
        Err(error) if error.code == codes::NOT_FOUND => PartnerSlp::Absent,
        Err(error) => PartnerSlp::Unreachable(error.message),
    })
}

/// A path segment: everything but letters, digits and `.-_~` as `%NN`.
fn percent(name: &str) -> String {
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

async fn reached(
    app: &App,
    said: &BTreeMap<(DomainId, String), PartnerSlp>,
) -> Result<Vec<server::Finding>, Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let findings = said.iter().map(|((domain, name), answer)| {
        let side = super::domains::name_of(app, &partners, *domain);
        let (level, message) = match answer {
            PartnerSlp::Present { .. } => (Level::Ok, format!("`{side}` has the SLP `{name}`")),
            PartnerSlp::Absent => (Level::Error, format!("`{side}` has no SLP `{name}`")),
            PartnerSlp::Unreachable(why) => (Level::Warning, format!("`{side}` could not be asked: {why}")),
        };
        let (code, check, help) = (String::new(), format!("slp {name}"), String::new());
        server::Finding { level, code, check, side, message, help }
    });
    Ok(findings.collect())
}

async fn info(app: &App, version: SlpVersion) -> Result<SlpInfo, Failure> {
    let unfinished = app.catalog.images_unfinished(&version.slp.name).await;
    let text = toml::to_string(&version.slp).map_err(|error| internal(&error))?;
    Ok(SlpInfo {
        version: version.version,
        applied: time_out(version.made),
        text,
        images_unfinished: unfinished.map_err(|error| internal(&error))?,
        operations: version.slp.operations.iter().map(operation).collect(),
        data_classification: version.slp.data_classification,
        priority: version.slp.priority,
        name: version.slp.name,
    })
}

fn operation(operation: &slp::SlpOperation) -> SlpOperation {
    let kind = narrows_domain::OperationKind::from(operation.kind);
    let target = match &operation.target {
        None => String::new(),
        Some(TargetSpec::Word(word)) => word.clone(),
        Some(TargetSpec::Named(target)) => match &target.import_slp {
            Some(slp) => format!("{} ({slp})", target.domain),
            None => target.domain.clone(),
        },
    };
    SlpOperation {
        id: operation.id.clone(),
        kind: kind.to_string(),
        source: operation.source.clone().unwrap_or_default(),
        storage: operation.storage.clone().unwrap_or_default(),
        target,
        retention: operation.retention.map(retention).unwrap_or_default(),
    }
}

fn retention(retention: slp::Retention) -> String {
    match retention {
        slp::Retention::Fixed(period) => format!("fixed {period}"),
        slp::Retention::ExpireAfterCopy => "expire-after-copy".to_owned(),
        slp::Retention::CapacityManaged => "capacity-managed".to_owned(),
        slp::Retention::Target { at_least, at_most } => {
            let least = at_least.map(|period| format!(", at least {period}")).unwrap_or_default();
            let most = at_most.map(|period| format!(", at most {period}")).unwrap_or_default();
            format!("target{least}{most}")
        }
    }
}

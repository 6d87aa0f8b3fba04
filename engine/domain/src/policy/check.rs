//! Says what is wrong with a backup policy: SLP-013, SLP-015, SLP-016.
//!
//! All findings at once, in the order of the text, each with the way to mend it. The same rules hold against an SLP that
//! policies name: [`against`].

use narrows_format::record::ScheduleKind;

use crate::policy::{Policy, Schedule, StartWindow};
use crate::slp::check::{check_policy_classification, check_schedule};
use crate::slp::{ANY_CLASSIFICATION, Finding, Slp, SlpVersion};
use crate::storage::{ANY_AVAILABLE, Client};

/// Everything that a policy may name.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The newest version of each SLP.
    pub slps: Vec<SlpVersion>,
    /// Names of all storage units and groups.
    pub storage: Vec<String>,
    /// Names of all windows.
    pub windows: Vec<String>,
    /// Names of all data classifications.
    pub classifications: Vec<String>,
    /// All clients.
    pub clients: Vec<Client>,
}

/// Checks a policy among what it names.
pub fn check(policy: &Policy, around: &Around) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unknown = |field, value: &str, what: &str, help: &str| {
        Finding::backup_policy("SLP-013", &policy.name, field)
            .value(value)
            .what(format!("names {what} `{value}`, which does not exist"))
            .why("what a policy names has to exist")
            .help(help)
    };
    for name in &policy.clients {
        match around.clients.iter().find(|client| client.name == *name) {
            None => {
                findings.push(unknown(
                    "clients",
                    name,
                    "client",
                    "enrol it: `narrowsctl client enroll NAME`",
                ));
            }
            Some(client) if client.revoked.is_some() => findings.push(
                Finding::backup_policy("SLP-013", &policy.name, "clients")
                    .value(name)
                    .what(format!("names client `{name}`, whose certificate was revoked"))
                    .why("a client that is not believed is not backed up")
                    .help("give it a new certificate: `narrowsctl client replace NAME`"),
            ),
            Some(_) => {}
        }
    }
    if let Some(name) = &policy.slp {
        match around.slps.iter().find(|version| version.slp.name == *name) {
            Some(version) => findings.extend(check_slp(policy, &version.slp)),
            None => {
                findings.push(unknown(
                    "slp",
                    name,
                    "SLP",
                    "`narrowsctl slp list` shows those that there are",
                ));
            }
        }
    }
    if let Some(name) =
        policy.storage.as_ref().filter(|name| *name != ANY_AVAILABLE && !around.storage.contains(name))
    {
        findings.push(unknown(
            "storage",
            name,
            "storage",
            "`narrowsctl storage-unit list` shows what there is",
        ));
    }
    let class = &policy.data_classification;
    if class != ANY_CLASSIFICATION && !around.classifications.contains(class) {
        let help = "`narrowsctl classification list` shows those that there are";
        findings.push(unknown("data_classification", class, "data classification", help));
    }
    findings.extend(check_windows(policy, around));
    findings.sort_by_key(|finding| finding.operation);
    findings
}

fn check_windows(policy: &Policy, around: &Around) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, schedule) in policy.schedules.iter().enumerate() {
        if let Some(StartWindow::Named(name)) = &schedule.window
            && !around.windows.contains(name)
        {
            findings.push(
                Finding::schedule("SLP-013", at, schedule, "window")
                    .value(name)
                    .what(format!("names window `{name}`, which does not exist"))
                    .why("what a policy names has to exist")
                    .help("`narrowsctl window list` shows those that there are, or give it one of its own"),
            );
        }
    }
    findings
}

/// What is wrong with a policy because of its SLP.
fn check_slp(policy: &Policy, slp: &Slp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if slp.backup().is_none() {
        findings.push(
            Finding::backup_policy("SLP-013", &policy.name, "slp")
                .value(&slp.name)
                .what(format!("names SLP `{}`, which does not begin with a Backup", slp.name))
                .why("a policy makes backups")
                .help("name an SLP that begins with a Backup operation"),
        );
    }
    if let Err(found) = check_policy_classification(&policy.name, &policy.data_classification, slp) {
        findings.push(
            Finding::backup_policy("SLP-015", &policy.name, "data_classification")
                .value(&policy.data_classification)
                .what(format!(
                    "has classification `{}`, its SLP `{}` has `{}`",
                    policy.data_classification, slp.name, slp.data_classification
                ))
                .why(found.why)
                .help(format!(
                    "set data_classification = \"{}\", or name another SLP",
                    slp.data_classification
                )),
        );
    }
    for (at, schedule) in synthetic(policy) {
        if let Err(found) = check_schedule(ScheduleKind::Synthetic, slp) {
            findings.push(
                Finding::schedule("SLP-016", at, schedule, "kind")
                    .value("synthetic")
                    .what(format!("is synthetic, and SLP `{}` replicates", slp.name))
                    .why(found.why)
                    .help(found.help),
            );
        }
    }
    findings
}

fn synthetic(policy: &Policy) -> impl Iterator<Item = (usize, &Schedule)> {
    let all = policy.schedules.iter().enumerate();
    all.filter(|(_, schedule)| ScheduleKind::from(schedule.kind) == ScheduleKind::Synthetic)
}

/// What is wrong with an SLP because of the policies that name it.
pub fn against<'a>(slp: &Slp, policies: impl IntoIterator<Item = &'a Policy>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for policy in policies.into_iter().filter(|policy| policy.slp.as_ref() == Some(&slp.name)) {
        let classified = check_policy_classification(&policy.name, &policy.data_classification, slp);
        findings.extend(classified.err().map(|found| *found));
        if let Some((_, schedule)) = synthetic(policy).next()
            && let Err(found) = check_schedule(ScheduleKind::Synthetic, slp)
        {
            findings.push(found.what(format!(
                "replicates, and schedule `{}` of policy `{}` is synthetic",
                schedule.name, policy.name
            )));
        }
    }
    findings
}

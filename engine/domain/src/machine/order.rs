//! What a person orders about the operations of one image: pause, resume, cancel, release.
//!
//! Guarantee: what runs is stopped at its next batch and nothing that is durable over there is taken back. A
//! cancelled operation keeps the copy that it would have taken, until it is released.

use narrows_format::{DomainId, Timestamp};

use crate::event::{Change, Command, Decision};
use crate::image::Image;
use crate::machine::replication::{self, ReplicationView};
use crate::machine::{Refusal, backup, turn};
use crate::operation::{Operation, OperationKey, OperationKind, OperationState};
use crate::slp::{Kind, Slp};

/// Something that will never exist once an operation is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// The operation that would have made it, by its id in the SLP.
    pub operation: String,
    /// Where it would have been, for people: `the copy in domain dr`.
    pub what: String,
}

/// Pauses what is still to be done: what waits for an import over there is past pausing.
pub fn pause(operations: &[Operation], now: Timestamp) -> Decision {
    let mut decision = Decision::nothing();
    for operation in operations.iter().filter(|it| it.kind != OperationKind::Backup) {
        match operation.state {
            OperationState::InProcess => turn::stop(operation, OperationState::Paused, now, &mut decision),
            OperationState::NotStarted | OperationState::Waiting(_) => {
                let mut paused = operation.clone();
                paused.enter(OperationState::Paused, now);
                decision.changes.push(Change::Operation(paused));
            }
            _ => {}
        }
    }
    decision
}

/// What was paused is due.
pub fn resume(operations: &[Operation], now: Timestamp) -> Decision {
    let mut decision = Decision::nothing();
    for operation in operations.iter().filter(|it| it.state == OperationState::Paused) {
        let mut due = operation.clone();
        due.enter(OperationState::NotStarted, now);
        decision.changes.push(Change::Operation(due));
    }
    decision
}

/// Cancels what is not at its end, all of it or the operations of one id, and says what will then never
/// exist. An image that is still being written is abandoned.
pub fn cancel(
    image: &Image,
    view: &ReplicationView<'_>,
    named: Option<&str>,
    domain_name: impl Fn(&Operation) -> Option<String>,
    now: Timestamp,
) -> (Vec<Never>, Decision) {
    let mut decision = Decision::nothing();
    let mut never = Vec::new();
    let chosen = |it: &&Operation| !it.state.is_final() && named.is_none_or(|name| it.name == name);
    let slp = view.slp.map(|version| &version.slp);
    for operation in view.operations.iter().filter(chosen) {
        let what = match domain_name(operation) {
            Some(domain) => format!("the copy in domain {domain}"),
            None if operation.kind == OperationKind::Backup => "the image".to_owned(),
            None => "the copy in this domain".to_owned(),
        };
        never.push(Never { operation: operation.name.clone(), what });
        never.extend(slp.into_iter().flat_map(|slp| after_it(slp, &operation.name)));
        match (operation.kind, &operation.state) {
            (OperationKind::Backup, state) => {
                if *state == OperationState::InProcess {
                    decision.commands.push(Command::StopReplication(operation.key));
                }
                decision.and(backup::give_up(image, view.operations, "it was cancelled", now));
            }
            (_, OperationState::InProcess) => {
                turn::stop(operation, OperationState::Cancelled, now, &mut decision);
            }
            _ => {
                let mut cancelled = operation.clone();
                cancelled.enter(OperationState::Cancelled, now);
                decision.changes.push(Change::Operation(cancelled));
            }
        }
    }
    (never, decision)
}

/// Everything that an SLP would have made of an operation's copy.
fn after_it(slp: &Slp, id: &str) -> Vec<Never> {
    let mut never = Vec::new();
    for child in slp.takers(id) {
        let what = match (child.kind, child.named_target()) {
            (Kind::Replication, Some(target)) => format!("the copy in domain {}", target.domain),
            (Kind::Replication, None) => "the copies in all domains".to_owned(),
            _ => "a further copy in this domain".to_owned(),
        };
        never.push(Never { operation: child.id.clone(), what });
        never.extend(after_it(slp, &child.id));
    }
    never
}

/// The operations that a release of this id means: of several, to several domains, those that failed or were
/// cancelled; if there is none, all that are not complete, which are cancelled by it.
pub fn releasing(operations: &[Operation], named: &str) -> Result<Vec<Operation>, Refusal> {
    let keeping = || operations.iter().filter(|it| it.name == named && it.keeps_source());
    let stopped: Vec<_> = keeping().filter(|it| it.state.is_final()).cloned().collect();
    let chosen = if stopped.is_empty() { keeping().cloned().collect() } else { stopped };
    if chosen.is_empty() {
        let sentence = format!("no operation `{named}` keeps a copy of this image");
        return Err(Refusal::new("SLP-013", sentence, "`narrowsctl image show` names those that do"));
    }
    Ok(chosen)
}

/// Lets the copy that an operation takes go without it, for a reason that is kept; see [`releasing`] for which.
pub fn release(
    view: &ReplicationView<'_>,
    named: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let chosen = releasing(view.operations, named)?;
    let keys: Vec<_> = chosen.iter().map(|it| it.key).collect();
    Ok(let_go(view, &keys, given(reason)?, now))
}

/// Work that failed or was cancelled and that nobody released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Its id in the SLP.
    pub operation: String,
    /// Only what goes to this partner.
    pub partner: Option<DomainId>,
}

impl Undone {
    /// Those of an image's operations.
    pub fn among(&self, operations: &[Operation]) -> Vec<OperationKey> {
        let goes_there = |it: &Operation| {
            let partner = it.target.as_ref().map(|target| target.partner);
            self.partner.is_none_or(|only| partner == Some(only))
        };
        let is_meant = |it: &&Operation| it.name == self.operation && it.is_left_undone() && goes_there(it);
        operations.iter().filter(is_meant).map(|it| it.key).collect()
    }
}

/// The same for all of an image that is meant.
pub fn release_undone(
    view: &ReplicationView<'_>,
    which: &Undone,
    reason: &str,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    Ok(let_go(view, &which.among(view.operations), given(reason)?, now))
}

fn given(reason: &str) -> Result<&str, Refusal> {
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Refusal::new("SLP-013", "a release needs a reason", "say why with --reason"));
    }
    Ok(reason)
}

fn let_go(view: &ReplicationView<'_>, chosen: &[OperationKey], reason: &str, now: Timestamp) -> Decision {
    let mut decision = Decision::nothing();
    let mut operations = view.operations.to_vec();
    for operation in operations.iter_mut().filter(|it| chosen.contains(&it.key)) {
        operation.released = Some(reason.to_owned());
        match operation.state {
            OperationState::InProcess => turn::stop(operation, OperationState::Cancelled, now, &mut decision),
            _ if operation.state.is_final() => decision.changes.push(Change::Operation(operation.clone())),
            _ => {
                operation.enter(OperationState::Cancelled, now);
                decision.changes.push(Change::Operation(operation.clone()));
            }
        }
    }
    replication::release_copied_out(view, &operations, now, &mut decision);
    decision
}

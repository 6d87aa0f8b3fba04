//! Every rule of the domain, and every reason to wait, is shown by a test that talks to running servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{refuse, text};

/// Rules that are no codes, by what they are about, each with the test that shows it: kind, file, and name. Codes have
/// tables of their own.
const RULES: &[(&str, &str, &str)] = &[
    // Topologies.
    (
        "topology",
        "a target that is down delays no other one, and its reason is shown",
        "e2e::fan::three_domains_keep_an_image_for_three_periods",
    ),
    (
        "topology",
        "chains, fans, funnels, pairs of two directions and rings hold what the policies say",
        "e2e::mesh::eight_domains_hold_what_their_policies_say",
    ),
    (
        "topology",
        "who relays an image needs the grant for its origin, whose image it stays",
        "live::partners::what_is_granted_is_allowed_and_what_is_revoked_is_not",
    ),
    (
        "topology",
        "nothing goes to its origin, however the domains hang together",
        "e2e::mesh::eight_domains_hold_what_their_policies_say",
    ),
    (
        "topology",
        "what a domain holds for long enough is not sent again, and for longer costs a word",
        "live::present::what_is_there_is_not_sent_again",
    ),
    (
        "topology",
        "a target that nobody can dial dials itself, and outside of its window its images wait",
        "live::vault::a_vault_outside_of_its_window_is_waited_for",
    ),
    (
        "topology",
        "pools of different segment sizes replicate",
        "e2e::main_job::pools_of_different_segment_means_replicate",
    ),
    (
        "topology",
        "domains, pools, trust, targets, lag and backlog are drawn",
        "live::partners::a_partner_is_paused_limited_and_drawn",
    ),
    // Versions of policies.
    (
        "versions",
        "an image keeps its version; in place retention only rises; unused versions go",
        "live::slps::an_slp_is_changed_in_place_or_by_a_new_version_and_what_is_queued_follows",
    ),
    (
        "versions",
        "a migration plans anew what was not started, and what has no target waits",
        "live::waits::every_wait_has_its_reason_and_ends_with_it",
    ),
    (
        "versions",
        "a target for all is resolved when the backup completes; later partners get older images by order",
        "live::orders::a_new_partner_gets_the_older_images_and_a_rebuilt_one_gets_them_again",
    ),
    (
        "versions",
        "an import SLP is made by itself with the grant, within its bounds and quota",
        "live::auto_import::an_import_slp_is_made_by_itself_within_the_bounds_of_the_grant",
    ),
    // Retention.
    (
        "retention",
        "fixed counts from the backup's start, wherever the copy is",
        "e2e::mesh::eight_domains_hold_what_their_policies_say",
    ),
    (
        "retention",
        "expire-after-copy ends when all children are complete",
        "live::expiry::a_staging_copy_goes_when_all_that_copy_from_it_are_complete",
    ),
    (
        "retention",
        "target is the date of the source within the receiver's bounds, which the source is shown",
        "live::present::the_receivers_bounds_are_shown_to_the_sender",
    ),
    (
        "retention",
        "capacity-managed goes between high and low water",
        "live::room::what_lives_for_as_long_as_there_is_room_goes_at_high_water",
    ),
    (
        "retention",
        "a copy goes when its period is over and all of its children are confirmed",
        "e2e::fan::three_domains_keep_an_image_for_three_periods",
    ),
    (
        "retention",
        "expired on arrival and failed are no completion: the source is kept until it is released",
        "live::expiry::what_expired_on_its_way_keeps_its_source_until_it_is_released",
    ),
    (
        "retention",
        "cancelled is no completion, and it is said what will never exist",
        "live::orders::an_image_is_paused_resumed_cancelled_and_let_go",
    ),
    (
        "retention",
        "why a copy is kept is said",
        "live::shown::both_ends_count_what_crossed_and_a_kept_copy_says_why",
    ),
    (
        "retention",
        "at high water backups are refused, nothing that is kept goes, and the date of full is told",
        "live::room::a_pool_at_high_water_refuses_what_is_new_and_goes_on_by_itself",
    ),
    (
        "retention",
        "a copy that was let go is read by nobody, and comes back",
        "live::expiry::an_image_is_let_go_and_brought_back",
    ),
    (
        "retention",
        "for a day at the source and a week at a target",
        "live::expiry::a_copy_can_be_brought_back_for_a_day_at_home_and_for_a_week_elsewhere",
    ),
    (
        "retention",
        "the last copy here is told to go seven days before",
        "live::room::the_last_copy_is_told_to_go_before_it_does",
    ),
    // Control.
    (
        "control",
        "a window holds work back, by its zone and its dates",
        "live::windows::a_shut_window_holds_replications_back_and_an_open_one_lets_them_go",
    ),
    (
        "control",
        "what runs stops at its window's end, and sends nothing twice",
        "live::windows::what_runs_stops_when_its_window_closes_and_goes_on_where_it_was",
    ),
    (
        "control",
        "what is due goes by priority, then by age",
        "live::turns::what_is_due_goes_by_priority_and_then_by_age",
    ),
    (
        "control",
        "bandwidth is by target and time of day",
        "live::bandwidth::bandwidth_is_by_target_and_time_of_day_and_changes_under_way",
    ),
    (
        "control",
        "what may leave a pool is shared by its targets",
        "live::bandwidth::what_may_leave_a_pool_is_shared_by_weight",
    ),
    ("control", "SLPs are paused, deferred and resumed", "live::slps::an_slp_is_paused_deferred_and_resumed"),
    (
        "control",
        "domains are paused, resumed and limited",
        "live::partners::a_partner_is_paused_limited_and_drawn",
    ),
    (
        "control",
        "it is tried for ever, over restarts of both sides",
        "live::data::work_goes_on_when_the_partner_is_back",
    ),
    (
        "control",
        "what can't be mended by trying stops at once and is said",
        "live::failing::a_record_that_can_never_be_taken_in_holds_up_no_other",
    ),
    (
        "control",
        "each wait has its reason, and ends with it",
        "live::waits::every_wait_has_its_reason_and_ends_with_it",
    ),
    // Replication, step by step.
    (
        "replication",
        "what can't be read is listed, and makes the image partial, which replicates all the same",
        "e2e::machine::what_can_not_be_read_makes_the_image_partial",
    ),
    (
        "replication",
        "only what the target lacks travels",
        "live::data::an_image_is_backed_up_replicated_imported_and_restored_elsewhere",
    ),
    (
        "replication",
        "nothing unproven, unsigned or unfinished becomes an image",
        "live::forged::a_partner_brings_nothing_unsigned_or_unshown",
    ),
    (
        "replication",
        "events are found again after a crash at any commit",
        "e2e::commits::a_primary_that_ends_at_any_commit_loses_and_doubles_nothing",
    ),
    (
        "replication",
        "an import that is pending for a day is a problem on both sides",
        "live::imports::an_import_that_is_pending_too_long_is_a_problem_on_both_sides",
    ),
    (
        "replication",
        "a failed import is kept, tried again when its cause is mended, and given up in the end",
        "live::imports::a_failed_import_is_tried_again_when_asked_and_given_up_when_its_time_is_over",
    ),
    (
        "replication",
        "all steps of an image are told in order, across domains",
        "live::timeline::every_step_is_told_in_order_with_what_was_waited_for",
    ),
    // Replicas.
    (
        "replicas",
        "records of another incarnation are lost, and one order mends that",
        "live::orders::a_new_partner_gets_the_older_images_and_a_rebuilt_one_gets_them_again",
    ),
    (
        "replicas",
        "an image of which no copy is left is named until somebody accepts it",
        "live::true_replicas::replicas_are_as_their_domain_says",
    ),
    (
        "replicas",
        "damage is told, and all is compared daily",
        "live::true_replicas::replicas_are_as_their_domain_says",
    ),
    (
        "replicas",
        "early expiry is told, and mended by one order",
        "live::true_replicas::what_is_let_go_there_too_early_is_told_and_sent_again",
    ),
    (
        "replicas",
        "nothing expires before an older catalog was compared with pools and partners",
        "live::reconcile::nothing_expires_before_an_older_catalog_was_compared",
    ),
    (
        "replicas",
        "damage is mended where it is granted, whatever became of other damaged copies",
        "live::damage::what_was_damaged_and_is_gone_keeps_nothing_from_being_mended",
    ),
    (
        "replicas",
        "an image that expired at home comes back in one command",
        "live::homecoming::what_has_expired_comes_home_by_one_command",
    ),
    (
        "replicas",
        "what was let go comes home only when it was asked for",
        "live::homecoming::what_was_let_go_comes_home_only_when_asked_for",
    ),
];

/// Where the reasons to wait are listed, and where each has its row.
const REASONS: (&str, &str) = ("engine/domain/src/operation.rs", "tests/live/waits.rs");

fn module_of(kind: &str, module: &str) -> Option<String> {
    let path: PathBuf = ["tests", kind, &format!("{module}.rs")].iter().collect();
    let is_there = super::root().join(&path).exists();
    let is_built = text(&["tests", kind, "main.rs"].iter().collect::<PathBuf>());
    (is_there && is_built.contains(&format!("mod {module};"))).then(|| text(&path))
}

#[test]
fn every_rule_is_shown_by_a_test_of_running_servers() {
    let (mut faults, mut said) = (Vec::new(), BTreeMap::new());
    for (about, rule, test) in RULES {
        let [kind, module, name] = test.split("::").collect::<Vec<_>>()[..] else {
            faults.push(format!("{test}: is no kind::file::name"));
            continue;
        };
        let source = module_of(kind, module).unwrap_or_default();
        let is_test = source.split("\n#[").any(|item| {
            let is_marked = item.starts_with("test]") || item.starts_with("tokio::test");
            is_marked && item.contains(&format!("fn {name}("))
        });
        if !is_test {
            faults.push(format!("{about}: `{rule}`: there is no test {test}"));
        }
        if said.insert(*rule, *test).is_some() {
            faults.push(format!("{about}: `{rule}` is said twice"));
        }
    }
    refuse(&faults);
}

#[test]
fn every_reason_to_wait_has_a_row_in_the_live_table() {
    let (list, table) = REASONS;
    let source = text(list.as_ref());
    let reasons = source.split("pub enum WaitReason {").nth(1).and_then(|rest| rest.split('}').next());
    let reasons: BTreeSet<_> = reasons.expect("the reasons").split('"').skip(1).step_by(2).collect();
    assert!(reasons.len() > 10, "{list} lists the reasons: {reasons:?}");
    let source = text(table.as_ref());
    let rows = source.split("const WAITS").nth(1).and_then(|rest| rest.split("];").next()).expect("the rows");
    let rows: BTreeSet<_> = rows.split("(\"").skip(1).filter_map(|row| row.split('"').next()).collect();
    let lacking =
        reasons.difference(&rows).map(|it| format!("{it}: {table} has no row that brings it about"));
    let unknown = rows.difference(&reasons).map(|it| format!("{it}: is in {table} and not in {list}"));
    refuse(&lacking.chain(unknown).collect::<Vec<_>>());
}

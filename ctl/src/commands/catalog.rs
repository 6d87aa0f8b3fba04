//! `catalog show|reconcile`.

use narrows_api::{
    holdings::{CatalogInfo, ReconcileRequest},
    paths,
};

use super::Session;
use crate::{cli::CatalogCommand, failure::Outcome, output::time};

pub(super) async fn run(session: &Session, command: CatalogCommand) -> Outcome<()> {
    let api = session.administrator()?;
    let now: CatalogInfo = api.get(paths::CATALOG, &()).await?;
    let CatalogCommand::Reconcile { force, sure } = command else {
        return session.style.show(&now, shown);
    };
    if sure.dry_run {
        return session.style.show(&now, shown);
    }
    if force && let Some(open) = &now.reconciling {
        let waits = open.waits_for.join(", ");
        let what = format!("copies whose time has come go, though these were not compared: {waits}");
        sure.ask(session.style, &what, "catalog")?;
    }
    let after: CatalogInfo = api.post_work(paths::CATALOG_RECONCILE, &ReconcileRequest { force }).await?;
    session.style.show(&after, shown)
}

fn shown(info: &CatalogInfo) -> String {
    let CatalogInfo { mark, incarnation, reconciling } = info;
    let Some(open) = reconciling else {
        return format!("reconciled; mark {mark}, incarnation {incarnation}");
    };
    let waits = open.waits_for.join(", ");
    format!(
        "an older catalog was put back, noticed {}: {}\nnothing expires until it was compared with: {waits}",
        time(open.since),
        open.why
    )
}

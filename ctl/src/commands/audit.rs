//! `audit list`.

use narrows_api::{
    audit::{AuditInfo, AuditQuery},
    paths,
};

use super::Session;
use crate::{
    cli::{AuditCommand, AuditListArgs},
    failure::Outcome,
    output::{table_of, time},
};

pub(super) async fn run(session: &Session, command: AuditCommand) -> Outcome<()> {
    let AuditCommand::List(AuditListArgs { image, who, since, until, limit }) = command;
    let query = AuditQuery { image, who, since, until, limit: Some(limit) };
    let reads: Vec<AuditInfo> = session.administrator()?.get(paths::AUDIT, &query).await?;
    session.style.show(&reads, |reads| {
        let row = |read: &AuditInfo| {
            let AuditInfo { who, how, image_name, what, began, ended, times, .. } = read.clone();
            vec![time(ended), who, how, image_name, what, times.to_string(), time(began)]
        };
        let rows: Vec<_> = reads.iter().map(row).collect();
        table_of(&["LAST", "WHO", "HOW", "IMAGE", "WHAT", "TIMES", "FIRST"], &["TIMES"], &rows)
    })
}

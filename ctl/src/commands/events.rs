//! `event list`.

use narrows_api::{
    events::{EventInfo, EventQuery},
    paths,
};

use super::{Session, jobs::arrived};
use crate::{
    cli::{EventCommand, EventListArgs},
    failure::Outcome,
    output::{bytes, table_of, time},
};

pub(super) async fn run(session: &Session, command: EventCommand) -> Outcome<()> {
    let EventCommand::List(EventListArgs { image, from, pool, since, until, pending, limit }) = command;
    let api = session.administrator()?;
    let image = match image {
        Some(called) => Some(arrived(&api, &called).await?),
        None => None,
    };
    let query = EventQuery { image, from, pool, since, until, pending, limit: Some(limit) };
    let events: Vec<EventInfo> = api.get(paths::EVENTS, &query).await?;
    session.style.show(&events, |events| {
        let row = |event: &EventInfo| {
            vec![
                time(event.arrival.arrived),
                event.pool_name.clone(),
                event.sequence.to_string(),
                event.arrival.image_name.clone(),
                event.arrival.sender_name.clone(),
                bytes(event.logical_bytes),
                bytes(event.wire_bytes),
                event.arrival.state.clone(),
                event.arrival.why.clone(),
            ]
        };
        let rows: Vec<_> = events.iter().map(row).collect();
        let headers = ["ARRIVED", "POOL", "RECORD", "IMAGE", "FROM", "BYTES", "CROSSED", "STATE", "WHY"];
        table_of(&headers, &["RECORD", "BYTES", "CROSSED"], &rows)
    })
}

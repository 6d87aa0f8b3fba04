//! Room in a pool: when it counts as full, how its room is remembered, and what goes at high water.

use narrows_domain::{
    space::RoomSeen,
    storage::{Pool, PoolTrouble},
};
use narrows_pool::PoolSpace;

use crate::api::{App, answer::Failure};

/// Why a pool takes nothing, if it has no room or is to leave some.
pub(super) fn full(pool: &Pool, space: &PoolSpace) -> Option<PoolTrouble> {
    let (free, total) = (space.disk_available, space.disk_total);
    let what = if let Some(lack) = space.lack {
        let (free, what, needed) = (lack.available >> 20, lack.what, lack.needed >> 20);
        format!("{free} MiB are free, and {what} needs {needed} MiB that are")
    } else if free < pool.keep_free {
        format!("{} MiB are free, and {} MiB are to stay so", free >> 20, pool.keep_free >> 20)
    } else if free < pool.stays_free(total) {
        let (free, total) = (free >> 20, total >> 20);
        format!("{free} of {total} MiB are free, and its high water is {} %", pool.high_water)
    } else {
        return None;
    };
    let sentence = format!("pool `{}` is full: {what}", pool.name);
    Some(PoolTrouble { code: "POOL-002".to_owned(), sentence, readable: true })
}

/// Remembers how much room a pool has, and lets copies go that live for as long as there is some.
pub(super) async fn tell(app: &App, pool: &Pool, space: &PoolSpace) {
    let (id, used) = (pool.id, space.container_bytes);
    let (free, total) = (space.disk_available, space.disk_total);
    let telling = app.control.act(move |primary, moment| {
        Box::pin(async move {
            primary.room_seen(RoomSeen { pool: id, at: moment.now, used, free }).await?;
            primary.make_room(id, (free, total), moment).await
        })
    });
    match telling.await {
        Ok(0) => {}
        Ok(bytes) => tracing::info!(
            pool = pool.name,
            bytes,
            "copies that lived for as long as there was room go: the pool is at high water"
        ),
        Err(Failure(error)) => tracing::debug!(%error, "the room of a pool could not be told"),
    }
}

//! Room in a pool: when it counts as full, how its room is remembered, and what goes at high water.

use narrows_api::size::shown;
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
        format!("{} are free, and {} needs {} that are", shown(lack.available), lack.what, shown(lack.needed))
    } else if free < pool.keep_free {
        format!("{} are free, and {} are to stay so", shown(free), shown(pool.keep_free))
    } else if free < pool.stays_free(total) {
        format!("{} of {} are free, and its high water is {} %", shown(free), shown(total), pool.high_water)
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

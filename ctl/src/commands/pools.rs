//! `pool ...`.

use narrows_api::{
    damage::ScrubRequest,
    paths,
    pools::{Forecast, PoolChange, PoolInfo, PoolRequest, VolumeInfo},
};

use super::{Session, damage, storage::rate};
use crate::{
    api::filled,
    cli::{PoolCommand, PoolCreateArgs, RoomArgs, VolumeCommand},
    failure::{Failure, Outcome},
    output::{bytes, counted, table, time, time_or_dash},
};

pub(super) async fn pools(session: &Session, command: PoolCommand) -> Outcome<()> {
    let api = session.administrator()?;
    match command {
        PoolCommand::List => {
            let pools: Vec<PoolInfo> = api.get(paths::POOLS, &()).await?;
            session.style.show(&pools, |pools| list(pools))
        }
        PoolCommand::Show { name } => {
            let pool: PoolInfo = api.get(&filled(paths::POOL, &name), &()).await?;
            session.style.show(&pool, one)
        }
        PoolCommand::Space => {
            let pools: Vec<PoolInfo> = api.get(paths::POOLS, &()).await?;
            session.style.show(&pools, |pools| space(pools))
        }
        PoolCommand::Damage { name } => damage::show(session, &api, &name).await,
        PoolCommand::Scrub { name, deep, rate, wait } => {
            let request = ScrubRequest { deep, rate: rate.map(|size| size.0) };
            damage::scrub(session, &api, (&name, wait), request).await
        }
        PoolCommand::Verify { name, rate, wait } => {
            let request = ScrubRequest { deep: true, rate: rate.map(|size| size.0) };
            damage::scrub(session, &api, (&name, wait), request).await
        }
        PoolCommand::Heal { name, from, wait } => damage::heal(session, &api, (&name, wait), from).await,
        PoolCommand::Create(args) => {
            let made: PoolInfo = api.post(paths::POOLS, &request(args)?).await?;
            session.style.show(&made, |made| format!("pool {} is made and open\n{}", made.name, one(made)))
        }
        PoolCommand::Open { name } => {
            let pool: PoolInfo = api.post_work(&filled(paths::POOL_OPEN, &name), &()).await?;
            session.style.show(&pool, |pool| format!("pool {} is open\n{}", pool.name, one(pool)))
        }
        PoolCommand::Set { name, room, bandwidth, spanning, sure } => {
            let path = filled(paths::POOL, &name);
            if sure.dry_run {
                let pool: PoolInfo = api.get(&path, &()).await?;
                return session.style.show(&pool, |pool| would(pool, spanning));
            }
            if spanning {
                let pool: PoolInfo = api.get(&path, &()).await?;
                sure.ask(session.style, &would(&pool, spanning), &name)?;
            }
            let RoomArgs { keep_free, high_water, low_water } = room;
            let keep_free = keep_free.map(|size| size.0);
            let bandwidth = bandwidth.map(|rate| rate.0);
            let change = PoolChange { spanning, keep_free, high_water, low_water, bandwidth };
            let pool: PoolInfo = api.post(&path, &change).await?;
            session.style.show(&pool, one)
        }
    }
}

pub(super) async fn volumes(session: &Session, command: VolumeCommand) -> Outcome<()> {
    let VolumeCommand::List = command;
    let volumes: Vec<VolumeInfo> = session.administrator()?.get(paths::VOLUMES, &()).await?;
    session.style.show(&volumes, |volumes| {
        let row = |volume: &VolumeInfo| {
            vec![
                volume.name.clone(),
                volume.pool_name.clone(),
                volume.server.clone(),
                volume.replication.clone(),
                volume.directories.join(", "),
            ]
        };
        let rows: Vec<_> = volumes.iter().map(row).collect();
        table(&["VOLUME", "POOL", "SERVER", "REPLICATION", "LIES IN"], &rows)
    })
}

fn request(args: PoolCreateArgs) -> Outcome<PoolRequest> {
    let PoolCreateArgs { name, server, data, spanning, segment_mean, room } = args;
    let RoomArgs { keep_free, high_water, low_water } = room;
    let text = |path: std::path::PathBuf| {
        path.into_os_string().into_string().map_err(|path| {
            Failure::usage(format!("`{}` is no text", path.to_string_lossy())).help("name a folder in UTF-8")
        })
    };
    let directories = data.into_iter().map(text).collect::<Outcome<_>>()?;
    let segment_mean = match segment_mean.map(|size| u32::try_from(size.0)) {
        None => None,
        Some(Ok(mean)) => Some(mean),
        Some(Err(_)) => return Err(Failure::usage("segments are not that long".to_owned())),
    };
    let keep_free = keep_free.map(|size| size.0);
    Ok(PoolRequest { name, server, directories, spanning, segment_mean, keep_free, high_water, low_water })
}

fn would(pool: &PoolInfo, spanning: bool) -> String {
    if spanning && !pool.spanning {
        let images = counted(pool.images, "image", "images");
        return format!(
            "pool `{}` with {images} would span from now on: nothing is replicated from it any more, and there is no way back",
            pool.name
        );
    }
    format!("pool `{}` would be changed, and what lies in it would not", pool.name)
}

fn state(pool: &PoolInfo) -> String {
    match (pool.code.as_str(), pool.readable) {
        ("", _) => "open".to_owned(),
        (code, true) => format!("takes nothing ({code})"),
        (code, false) => format!("not open ({code})"),
    }
}

fn list(pools: &[PoolInfo]) -> String {
    let row = |pool: &PoolInfo| {
        vec![
            pool.name.clone(),
            state(pool),
            pool.server.clone(),
            pool.storage_unit.clone(),
            bytes(pool.used_bytes),
            bytes(pool.free_bytes),
            if pool.spanning { "spanning" } else { "" }.to_owned(),
            pool.directories.join(", "),
        ]
    };
    let rows: Vec<_> = pools.iter().map(row).collect();
    table(&["POOL", "STATE", "SERVER", "STORAGE UNITS", "USED", "FREE", "KIND", "LIES IN"], &rows)
}

fn space(pools: &[PoolInfo]) -> String {
    let row = |pool: &PoolInfo| {
        vec![
            pool.name.clone(),
            bytes(pool.total_bytes),
            bytes(pool.free_bytes),
            bytes(pool.room.stays_free),
            full_by(pool),
            bytes(pool.used_bytes),
            bytes(pool.staged_bytes),
            pool.images.to_string(),
            pool.segments.to_string(),
            time_or_dash(pool.scrubbed),
            pool.damaged_images.to_string(),
            pool.why.clone(),
        ]
    };
    let rows: Vec<_> = pools.iter().map(row).collect();
    let headers = [
        "POOL",
        "DISK",
        "FREE",
        "STAYS FREE",
        "FULL BY",
        "USED",
        "STAGED",
        "IMAGES",
        "SEGMENTS",
        "LAST SCRUB",
        "DAMAGED",
        "WHY NOT",
    ];
    let going = |pool: &PoolInfo| format!("{}: {}\n", pool.name, could_go(pool));
    let going: String = pools.iter().map(going).collect();
    format!("{}\n{going}\n{RECLAIM}\n", table(&headers, &rows))
}

/// Why what could go does not.
const RECLAIM: &str = "What was removed takes its room until it is reclaimed, which this version does not do. FULL BY goes by how the \
                       free bytes of the disk have become less in the last 30 days, by whatever wrote there.";

/// When it will be full, in a word or a date.
pub(super) fn full_by(pool: &PoolInfo) -> String {
    match (pool.room.forecast, pool.room.full_at) {
        (Forecast::Full, Some(at)) => time(at),
        (Forecast::Steady, _) => "not in sight".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// What lies in it that could go, and what stands against that.
fn could_go(pool: &PoolInfo) -> String {
    let room = &pool.room;
    let until = room.discarded_until.map(|until| format!(" until {}", time(until))).unwrap_or_default();
    format!(
        "{} removed, not reclaimed; {} discarded, can be brought back{until}; {} past their period, kept because something needs them",
        bytes(room.removed_bytes),
        bytes(room.discarded_bytes),
        bytes(room.kept_bytes)
    )
}

fn volume(volume: &VolumeInfo) -> String {
    format!("{} (replication: {})", volume.name, volume.replication)
}

fn one(pool: &PoolInfo) -> String {
    let mut lines = vec![
        format!("pool           {} ({})", pool.name, pool.pool),
        format!("state          {}", state(pool)),
    ];
    if !pool.why.is_empty() {
        lines.push(format!("why            {}", pool.why));
    }
    lines.extend([
        format!("storage units  {}", pool.storage_unit),
        format!("server         {}", pool.server),
        format!("lies in        {}", pool.directories.join(", ")),
        format!("spanning       {}", if pool.spanning { "yes" } else { "no" }),
        format!("volumes        {}", pool.volumes.iter().map(volume).collect::<Vec<_>>().join(", ")),
        format!("used           {} in {}", bytes(pool.used_bytes), counted(pool.images, "image", "images")),
        format!("free           {} of {}", bytes(pool.free_bytes), bytes(pool.total_bytes)),
        format!("last scrub     {}", time_or_dash(pool.scrubbed)),
        format!("damaged        {}", counted(pool.damaged_images, "image", "images")),
        format!("kept free      {}", bytes(pool.keep_free)),
        format!("water marks    high {} %, low {} %", pool.room.high_water, pool.room.low_water),
        format!("bandwidth      {}", rate(pool.bandwidth)),
        format!("full by        {}", full_by(pool)),
        format!("could go       {}", could_go(pool)),
        format!("segment mean   {}", bytes(u64::from(pool.segment_mean))),
        format!("index          {} of {}", bytes(pool.index_bytes), bytes(pool.index_bytes_max)),
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use narrows_format::PoolId;

    use super::*;

    #[test]
    fn a_pool_says_what_stands_against_it() {
        let well = PoolInfo { readable: true, ..PoolInfo::named(PoolId([1; 16]), "a") };
        assert_eq!(state(&well), "open");
        let full = PoolInfo { code: "POOL-002".into(), ..well.clone() };
        assert_eq!(state(&full), "takes nothing (POOL-002)");
        assert_eq!(state(&PoolInfo { readable: false, ..full }), "not open (POOL-002)");
        assert!(would(&well, true).contains("no way back") && !would(&well, false).contains("no way back"));
    }
}

//! Takes in a connection that is parked here, keeps it alive, and gives it to who calls.

use narrows_api::{ApiError, error::codes};
use narrows_domain::{
    Catalog as _,
    partner::{Reach, Trust},
};
use narrows_format::DomainId;
use narrows_transport::Principal;
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use super::{
    Call,
    words::{ANSWER, Called, HERE, LEAVE, Wish, read_leave, write_answer},
};
use crate::{
    api::{App, caller::Peer, places::Standing},
    hands,
    limits::{CALL_ANSWER_MAX, HANDSHAKE_TIME_MAX, PARKED_SILENT_MAX},
};

type Parked = TlsStream<TcpStream>;

/// Serves a connection that was dialled for [`PROTOCOL`](super::words::PROTOCOL) until it ends or is given away. Who it is counts as
/// proved when what it wishes is granted.
pub async fn serve(app: &App, mut stream: Parked, (peer, standing): (&Peer, Standing)) -> io::Result<()> {
    let who = ("AUTH-005", "this needs the primary server of a paired domain");
    let Peer(Some(principal)) = peer else { return refuse(stream, who).await };
    let wish = timeout(HANDSHAKE_TIME_MAX, Wish::read(&mut stream)).await??;
    match (wish, principal) {
        (Wish::Park, Principal::Server { domain }) if *domain != app.who.domain => {
            park(app, stream, (*domain, standing)).await
        }
        (Wish::Through(partner, server), Principal::Media { domain, server: asks })
            if *domain == app.who.domain && app.servers.get(*asks).is_some() =>
        {
            standing.prove();
            put_through(app, stream, (partner, Called::Data(server))).await
        }
        _ => refuse(stream, who).await,
    }
}

async fn refuse(mut stream: Parked, why: (&str, &str)) -> io::Result<()> {
    write_answer(&mut stream, Some(why)).await?;
    stream.shutdown().await
}

async fn park(app: &App, mut stream: Parked, (domain, standing): (DomainId, Standing)) -> io::Result<()> {
    let Some((calls, is_first)) = app.parking.arrive(domain, app.clock.now()) else {
        let why = if app.parking.is_caller(domain) {
            (codes::NOT_READY, "there are enough parked connections here")
        } else {
            (
                "AUTH-005",
                "only a partner that is known to dial parks connections: `narrowsctl domain dial` there says so",
            )
        };
        return refuse(stream, why).await;
    };
    standing.prove();
    write_answer(&mut stream, None).await?;
    if is_first {
        tokio::spawn(ask(app.clone(), domain));
    }
    let call = tokio::select! {
        call = calls => call,
        ended = heard(app, &mut stream, domain) => return ended,
    };
    // Nobody may call any more: it is no partner that dials.
    let Ok(call) = call else { return Ok(()) };
    timeout(CALL_ANSWER_MAX, give(stream, call)).await?
}

/// What waits for it goes on now, not at its next probe.
pub(super) async fn ask(app: App, domain: DomainId) {
    let known = app.catalog.partner(domain).await.ok().flatten();
    let waits = known.is_some_and(|it| it.trust == Trust::Complete && it.reach != Reach::Up);
    if waits && let Some(event) = hands::probe(&app, domain).await {
        app.control.tell(event).await;
    }
}

/// Until it is silent, or leaves.
async fn heard(app: &App, stream: &mut Parked, domain: DomainId) -> io::Result<()> {
    loop {
        let mut byte = [0];
        if timeout(PARKED_SILENT_MAX, stream.read(&mut byte)).await?? == 0 {
            return Ok(());
        }
        match byte[0] {
            HERE => {
                app.parking.hear(domain, app.clock.now());
                stream.write_all(&[HERE]).await?;
                stream.flush().await?;
            }
            LEAVE => {
                let back = timeout(CALL_ANSWER_MAX, read_leave(stream)).await??;
                app.parking.leaves(domain, back);
                return Ok(());
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Signs of life may be on their way still; from the answer on nothing is.
async fn give(mut stream: Parked, Call { called, reply }: Call) -> io::Result<()> {
    called.write(&mut stream).await?;
    loop {
        match stream.read_u8().await? {
            HERE => {}
            ANSWER => break,
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
    // Whoever called has gone: so does the connection.
    drop(reply.send(stream.into_inner().0));
    Ok(())
}

/// A media server of this domain speaks to a partner that dials in here.
async fn put_through(app: &App, mut stream: Parked, (partner, called): (DomainId, Called)) -> io::Result<()> {
    let mut there = match app.parking.call(partner, called).await {
        Ok(there) => there,
        Err(why) => {
            let error = ApiError::new(codes::UNREACHABLE, why);
            return refuse(stream, (&error.code, &error.message)).await;
        }
    };
    write_answer(&mut stream, None).await?;
    let mut here = stream.into_inner().0;
    io::copy_bidirectional(&mut here, &mut there).await.map(drop)
}

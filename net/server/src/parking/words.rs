//! What is said while a connection is parked, under its TLS.
//!
//! | who | bytes |
//! |---|---|
//! | who dialled | [`Wish`]: kind, 7 zeros, domain 16, server 16 |
//! | who was dialled | length 2, then a text of so many bytes: empty, or code, space, sentence |
//! | who parked, again and again | [`HERE`]; the other side answers [`HERE`] |
//! | who was dialled, once | [`CALL`], kind of call 1, server 16 |
//! | who parked, once | [`ANSWER`], and neither side writes under this TLS any more; or [`LEAVE`], seconds since 1970 8 |
//!
//! Numbers are little-endian.

use narrows_format::{DomainId, ServerId, Timestamp};
use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What is spoken instead of HTTP, as agreed in the handshake.
pub const PROTOCOL: &[u8] = b"narrows-parked/1";

/// A sign of life.
pub const HERE: u8 = 0;
/// The connection is wanted.
pub const CALL: u8 = 1;
/// It is given.
pub const ANSWER: u8 = 2;
/// Who parked goes.
pub const LEAVE: u8 = 3;

const WISH_BYTES: usize = 40;
/// Longest code and sentence.
const TEXT_BYTES_MAX: usize = 512;
const PARK: u8 = 1;
const THROUGH: u8 = 2;
/// No time is known.
const NEVER: i64 = i64::MIN;

/// Why somebody dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be called by this connection.
    Park,
    /// To be put through to the data port of a partner: a media server asks its primary.
    Through(DomainId, Option<ServerId>),
}

/// What a parked connection is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Requests to the API of the primary.
    Api,
    /// A session with the data port of this media server, or of the primary.
    Data(Option<ServerId>),
}

impl Wish {
    /// Says it.
    pub async fn write(self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut bytes = [0; WISH_BYTES];
        match self {
            Self::Park => bytes[0] = PARK,
            Self::Through(domain, server) => {
                bytes[0] = THROUGH;
                bytes[8..24].copy_from_slice(&domain.0);
                bytes[24..].copy_from_slice(&server.unwrap_or(ServerId([0; 16])).0);
            }
        }
        to.write_all(&bytes).await?;
        to.flush().await
    }

    /// Hears it.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = [0; WISH_BYTES];
        from.read_exact(&mut bytes).await?;
        let (mut domain, mut server) = ([0; 16], [0; 16]);
        domain.copy_from_slice(&bytes[8..24]);
        server.copy_from_slice(&bytes[24..]);
        let is_plain = bytes[1..8] == [0; 7];
        match bytes[0] {
            PARK if is_plain && domain == [0; 16] && server == [0; 16] => Ok(Self::Park),
            THROUGH if is_plain => Ok(Self::Through(DomainId(domain), server_of(server))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Says yes, or why not.
pub async fn write_answer(
    to: &mut (impl AsyncWrite + Unpin),
    refused: Option<(&str, &str)>,
) -> io::Result<()> {
    let mut text = refused.map_or_else(String::new, |(code, sentence)| format!("{code} {sentence}"));
    while text.len() > TEXT_BYTES_MAX {
        text.pop();
    }
    let length = u16::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(text.as_bytes()).await?;
    to.flush().await
}

/// Hears it: code and sentence of a refusal.
pub async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(String, String)>> {
    let length = usize::from(from.read_u16_le().await?);
    if length > TEXT_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    if text.is_empty() {
        return Ok(None);
    }
    let (code, sentence) = text.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((code.to_owned(), sentence.chars().filter(|letter| !letter.is_control()).collect())))
}

impl Called {
    /// Says it, behind [`CALL`].
    pub async fn write(self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut bytes = [0; 18];
        bytes[0] = CALL;
        if let Self::Data(server) = self {
            bytes[1] = 1;
            bytes[2..].copy_from_slice(&server.unwrap_or(ServerId([0; 16])).0);
        }
        to.write_all(&bytes).await?;
        to.flush().await
    }

    /// Hears what follows [`CALL`].
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut bytes = [0; 17];
        from.read_exact(&mut bytes).await?;
        let mut server = [0; 16];
        server.copy_from_slice(&bytes[1..]);
        match bytes[0] {
            0 if server == [0; 16] => Ok(Self::Api),
            1 => Ok(Self::Data(server_of(server))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn server_of(bytes: [u8; 16]) -> Option<ServerId> {
    (bytes != [0; 16]).then_some(ServerId(bytes))
}

/// Says that who parked goes, and when it comes back.
pub async fn write_leave(to: &mut (impl AsyncWrite + Unpin), back: Option<Timestamp>) -> io::Result<()> {
    let seconds = back.map_or(NEVER, |back| back.seconds);
    to.write_all(&[LEAVE]).await?;
    to.write_all(&seconds.to_le_bytes()).await?;
    to.flush().await
}

/// Hears what follows [`LEAVE`].
pub async fn read_leave(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Timestamp>> {
    let seconds = from.read_i64_le().await?;
    Ok((seconds != NEVER).then_some(Timestamp { seconds, nanos: 0 }))
}

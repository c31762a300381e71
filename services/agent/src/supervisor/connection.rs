//! The connected agent: bytes in, bytes out, never waiting.

use crate::wire::{self, Event, FrameError, Frames, Request};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// Unsent bytes beyond which an agent that does not read is let go; the next one gets a snapshot.
/// 50,000 ends at 400 bytes are 20 MB; one frame's limit is more than three times that.
const UNSENT_MAX: usize = wire::FRAME_MAX;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("the agent is gone")]
    ByPeer,
    #[error("the agent does not read its events")]
    Unread,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One agent's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames,
    unsent: Vec<u8>,
    /// It has said hello: what happened before that is in its snapshot, and would come before it otherwise.
    greeted: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, frames: Frames::default(), unsent: Vec::new(), greeted: false })
    }

    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// From now on it is told what happens.
    pub(super) const fn greet(&mut self) {
        self.greeted = true;
    }

    /// What has come; one read, so that a chatty agent does not keep the tasks waiting.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<Vec<Request>, Closed> {
        match self.stream.read(buffer) {
            Ok(0) => return Err(Closed::ByPeer),
            Ok(n) => self.frames.push(&buffer[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let mut requests = Vec::new();
        while let Some(more) = self.frames.take_frame()? {
            requests.extend(more);
        }
        Ok(requests)
    }

    /// Sends, or keeps what the socket does not take. Before the hello nothing is sent.
    pub(super) fn send(&mut self, events: &[Event]) -> Result<(), Closed> {
        if self.greeted && !events.is_empty() {
            self.unsent.extend(wire::encode(events));
        }
        self.push_out()?;
        if self.unsent.len() > UNSENT_MAX { Err(Closed::Unread) } else { Ok(()) }
    }

    /// True while the socket owes us room.
    pub(super) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn push_out(&mut self) -> Result<(), Closed> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e.into()),
            }
        }
        self.unsent.drain(..sent);
        Ok(())
    }
}

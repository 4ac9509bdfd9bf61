//! A request on its way from the filter to its handler.

use futures_util::Stream;
use warp::Buf;

use super::head::Head;
use super::trace::Trace;

/// A request whose head has arrived. Its body may still be on its way.
#[derive(Debug)]
pub(super) struct Request<'a, B> {
    pub(super) head: &'a Head,
    /// The trace that the handler adds to.
    pub(super) trace: &'a Trace,
    pub(super) body: B,
}

/// A body as warp hands it over: a stream of chunks.
pub(super) trait Body: Stream<Item = Result<Self::Chunk, warp::Error>> + Send {
    type Chunk: Buf + Send;
}

impl<S, C> Body for S
where
    S: Stream<Item = Result<C, warp::Error>> + Send,
    C: Buf + Send,
{
    type Chunk = C;
}

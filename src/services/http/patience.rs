//! Streams and bodies that end when the other side pauses for too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A wait that begins when something has to be waited for.
struct Pause {
    longest: Duration,
    until: Option<Pin<Box<Sleep>>>,
}

impl Pause {
    fn new(longest: Duration) -> Self {
        Self { longest, until: None }
    }

    /// What there is; ready with an error where there was nothing for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<Result<T, io::Error>> {
        match polled {
            Poll::Ready(value) => {
                self.until = None;
                Poll::Ready(Ok(value))
            }
            Poll::Pending => {
                let until = self.until.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + self.longest)));
                ready!(until.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client paused for too long")))
            }
        }
    }
}

/// A stream whose other side must read what is written to it.
pub(super) struct Patient<S> {
    stream: S,
    pause: Pause,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, stall: Duration) -> Self {
        Self { stream, pause: Pause::new(stall) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pause.bounded(cx, polled).map(Result::flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.pause.bounded(cx, polled).map(Result::flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A body that must come without long pauses, and within a time.
pub(super) struct PatientBody {
    body: Incoming,
    pause: Pause,
    begun: Instant,
    whole: Duration,
}

impl PatientBody {
    pub(super) fn new(body: Incoming, stall: Duration, whole: Duration) -> Self {
        Self { body, pause: Pause::new(stall), begun: Instant::now(), whole }
    }
}

impl HttpBody for PatientBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let frame = ready!(self.pause.bounded(cx, polled))?;
        if frame.is_some() && self.begun.elapsed() > self.whole {
            return Poll::Ready(Some(Err("the body did not come in time".into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

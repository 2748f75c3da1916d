//! Reading the event stream (server-sent events, WHATWG HTML section 9.2): a bounded parser and the stream on top of it.

use super::http::Http;
use crate::{
    ledger::{BlockEvents, EventStream},
    problem::{Kind, Problem},
};
use core::time::Duration;
use futures_util::stream;
use reqwest::Response;

/// Longest message, in bytes: a full block of registrations, one handle each, in hex.
const MAX_MESSAGE: usize = 32 << 20;

/// The stream of an answer whose status was good.
pub(super) fn stream(http: Http, response: Response, after: u64) -> EventStream {
    let reader = Reader {
        silence: http.limits.silence,
        http,
        response,
        after,
        number: None,
        parser: Parser::default(),
        ended: false,
    };
    Box::pin(stream::unfold(reader, |mut reader| async move {
        let item = reader.next().await?;
        Some((item, reader))
    }))
}

struct Reader {
    http: Http,
    response: Response,
    silence: Duration,
    after: u64,
    /// Number of the last block handed out, recoveries' heights left out.
    number: Option<u64>,
    parser: Parser,
    ended: bool,
}

impl Reader {
    /// The next block's events; the first problem is the last item.
    async fn next(&mut self) -> Option<Result<BlockEvents, Problem>> {
        if self.ended {
            return None;
        }
        let item = self.read().await.transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }

    async fn read(&mut self) -> Result<Option<BlockEvents>, Problem> {
        loop {
            while let Some(message) = self.parser.next() {
                match message.event.as_str() {
                    "block" => return self.block(&message.data).map(Some),
                    "problem" => {
                        let status = Kind::Internal.status();
                        return Err(Problem::from_answer(status, message.data.as_bytes()));
                    }
                    "end" => return Ok(None),
                    // A later node may say more; what is not known is passed over.
                    _ => {}
                }
            }
            let chunk = tokio::time::timeout(self.silence, self.response.chunk())
                .await
                .map_err(|_| Problem::new(Kind::Unreachable, "the event stream fell silent"))?
                .map_err(|error| self.http.unreachable(error))?
                .ok_or_else(|| Problem::new(Kind::Unreachable, "the event stream broke off"))?;
            self.parser.push(&chunk)?;
        }
    }

    fn block(&mut self, data: &str) -> Result<BlockEvents, Problem> {
        let block: BlockEvents = self.http.read_json(data.as_bytes())?;
        // Each block once, none left out: a gap would be a lost event. Recoveries skip heights, not blocks.
        let number = block.height.checked_sub(block.skipped);
        let follows = match (self.number, number) {
            (_, None) => false,
            (None, Some(_)) => block.height > self.after,
            (Some(last), Some(number)) => number == last + 1,
        };
        if !follows {
            return Err(Problem::new(
                Kind::BadAnswer,
                format!(
                    "the event stream is not in order: block {} came unexpectedly",
                    block.height
                ),
            ));
        }
        self.number = number;
        Ok(block)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    data: String,
}

#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    /// Where the next message begins; what lies before it was handed out and goes when more arrives.
    begin: usize,
    /// Up to where the end of that message was searched for.
    searched: usize,
}

impl Parser {
    fn push(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        // Once for each chunk, not for each message in it: a stream of tiny ones would be moved as often as it has any.
        self.buffer.drain(..self.begin);
        self.searched -= self.begin;
        self.begin = 0;
        if self.buffer.len() + chunk.len() > MAX_MESSAGE {
            return Err(Problem::new(
                Kind::BadAnswer,
                "a message of the event stream is too long",
            ));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole message with data; comments (heartbeats) are passed over.
    fn next(&mut self) -> Option<Message> {
        loop {
            let from = self.searched.saturating_sub(1).max(self.begin);
            let Some(end) = self.buffer[from..].windows(2).position(|w| w == b"\n\n") else {
                self.searched = self.buffer.len();
                return None;
            };
            let end = from + end + 2;
            let message = parse(&String::from_utf8_lossy(&self.buffer[self.begin..end]));
            self.begin = end;
            self.searched = end;
            if !message.data.is_empty() {
                return Some(message);
            }
        }
    }
}

fn parse(text: &str) -> Message {
    let mut message = Message::default();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut message.event),
            "data" => {
                if !message.data.is_empty() {
                    message.data.push('\n');
                }
                message.data.push_str(value);
            }
            _ => {}
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_the_bytes_are_cut() {
        let text = b": heartbeat\n\nid: 4\nevent: block\ndata: {\"a\":1}\n\nevent: end\ndata: x\ndata:y\n\n";
        for cut in 1..text.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for chunk in text.chunks(cut) {
                parser.push(chunk).unwrap();
                while let Some(message) = parser.next() {
                    found.push((message.event, message.data));
                }
            }
            let expected = [("block", "{\"a\":1}"), ("end", "x\ny")];
            assert_eq!(
                found,
                expected.map(|(a, b)| (a.to_owned(), b.to_owned())),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn a_message_without_end_is_refused() {
        let mut parser = Parser::default();
        let chunk = vec![b'x'; 1 << 20];
        let refused = (0..40).find_map(|_| parser.push(&chunk).err());
        assert_eq!(refused.map(|p| p.kind), Some(Kind::BadAnswer));
    }
}

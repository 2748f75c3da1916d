//! A stream of blocks: each behind its length, bounded, under a time limit.

use super::http::Http;
use crate::{
    block::{Block, MAX_BLOCK},
    ledger::BlockStream,
    problem::{Kind, Problem},
};
use bytes::{Buf as _, BytesMut};
use futures_util::stream;
use reqwest::Response;

/// The stream of an answer whose status was good.
pub(super) fn stream(http: Http, response: Response) -> BlockStream {
    let reader = Reader {
        http,
        response,
        buffer: BytesMut::new(),
    };
    Box::pin(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(block) => Some((Ok(block), Some(reader))),
            // The first problem is the last item.
            Err(problem) => Some((Err(problem), None)),
        }
    }))
}

struct Reader {
    http: Http,
    response: Response,
    buffer: BytesMut,
}

impl Reader {
    async fn next(&mut self) -> Result<Block, Problem> {
        loop {
            if let Some(block) = take(&mut self.buffer)? {
                return Block::decode(block.freeze());
            }
            let silence = self.http.limits.silence;
            let chunk = tokio::time::timeout(silence, self.response.chunk())
                .await
                .map_err(|_| Problem::new(Kind::Unreachable, "the stream of blocks fell silent"))?
                .map_err(|error| self.http.unreachable(error))?
                .ok_or_else(|| Problem::new(Kind::Unreachable, "the stream of blocks broke off"))?;
            self.buffer.extend_from_slice(&chunk);
        }
    }
}

/// Takes the next block out of what has come, if it is there whole; signs of life are passed over.
fn take(buffer: &mut BytesMut) -> Result<Option<BytesMut>, Problem> {
    while let Some(length) = buffer.first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_BLOCK {
            return Err(Problem::new(
                Kind::BadAnswer,
                format!(
                    "the ledger node sends a block of {length} bytes, at most {MAX_BLOCK} are read"
                ),
            ));
        }
        if buffer.len() < 4 + length {
            return Ok(None);
        }
        buffer.advance(4);
        if length > 0 {
            return Ok(Some(buffer.split_to(length)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sample(n: u8) -> Block {
        Block {
            header: Bytes::from(vec![n; 228]),
            checkpoint: None,
            transactions: vec![Bytes::from(vec![n; 10 * usize::from(n)])],
        }
    }

    #[test]
    fn blocks_come_whole_however_the_bytes_are_cut() {
        let mut bytes = vec![0; 8];
        for n in 1..4 {
            bytes.extend(sample(n).frame());
            bytes.extend([0; 4]);
        }
        for cut in 1..bytes.len() {
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for chunk in bytes.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Some(block) = take(&mut buffer).unwrap() {
                    found.push(Block::decode(block.freeze()).unwrap());
                }
            }
            assert_eq!(found, [1, 2, 3].map(sample), "cut {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_block_that_is_too_long_is_refused_before_it_has_come() {
        let length = (MAX_BLOCK as u32 + 1).to_be_bytes();
        let refused = take(&mut BytesMut::from(&length[..]));
        assert_eq!(refused.unwrap_err().kind, Kind::BadAnswer);
        let length = (MAX_BLOCK as u32).to_be_bytes();
        assert_eq!(take(&mut BytesMut::from(&length[..])).unwrap(), None);
    }
}

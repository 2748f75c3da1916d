//! `GET /words`

use super::{page, visitor::Anyone};
use crate::{http::answer::Answer, views::words::Words};

pub(super) async fn show(Anyone(f): Anyone) -> Answer {
    page(&Words { f })
}

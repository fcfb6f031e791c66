//! `dacapo:task/streams`: bounds what the guest sends, and asks the [`crate::World`], once.

use crate::TaskCtx;
use crate::bounds::check_chunks;
use crate::generated::dacapo::task::relatives::Relative;
use crate::generated::dacapo::task::streams::Host;
use crate::journal::{Kind, Question, digest_of};
use crate::relatives;

impl Host for TaskCtx {
    async fn append(
        &mut self,
        of: Relative,
        name: String,
        chunks: Vec<String>,
    ) -> wasmtime::Result<Result<(), String>> {
        if let Err(refused) = check_chunks(&name, &chunks) {
            return Ok(Err(refused));
        }
        let text = || format!("{}, {name}", relatives::name(of));
        let question =
            || Question::new(Kind::Append).text(text()).found_by(digest_of(&chunks), chunks.join("\n")).about(&chunks);
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.append(of, name, chunks).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }
}

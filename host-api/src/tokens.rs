//! `dacapo:task/tokens`: bounds what the guest sends, and asks the [`crate::World`], once.

use crate::TaskCtx;
use crate::bounds::{check_id, check_token, check_value};
use crate::generated::dacapo::task::tokens::{Host, Token, TokenOptions};
use crate::journal::{Kind, Question, digest_of};

impl Host for TaskCtx {
    async fn create(&mut self, options: TokenOptions) -> wasmtime::Result<Result<Token, String>> {
        if let Err(refused) = check_token(&options) {
            return Ok(Err(refused));
        }
        let call = self.next_call();
        if let Some(answer) = self
            .journal
            .past(|| Question::new(Kind::CreateToken).found_by(digest_of(&options), shown(&options)).about(&options))?
        {
            return Ok(answer);
        }
        let answer = self.world.create_token(call, options).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }

    async fn complete(&mut self, id: String, value: Option<String>) -> wasmtime::Result<Result<(), String>> {
        let checked = check_id("the id of the token", &id);
        if let Err(refused) = checked.and_then(|()| check_value("the value", value.as_deref().unwrap_or_default())) {
            return Ok(Err(refused));
        }
        let question = || {
            let shown = value.as_deref().unwrap_or_default();
            Question::new(Kind::CompleteToken).text(&*id).found_by(digest_of(&(&id, &value)), shown).about(&value)
        };
        if let Some(answer) = self.journal.past(question)? {
            return Ok(answer);
        }
        let answer = self.world.complete_token(id, value).await?;
        self.journal.keep(&answer);
        Ok(answer)
    }
}

/// The options for people; a key may hold anything, and is not shown.
fn shown(options: &TokenOptions) -> String {
    let TokenOptions { timeout, tags, .. } = options;
    match timeout {
        Some(timeout) => format!("timeout: {timeout:?}, tags: {tags:?}"),
        None => format!("tags: {tags:?}"),
    }
}

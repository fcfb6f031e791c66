//! Environment variables. Values are encrypted at rest; secret ones are never shown again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::auth::{Caller, Owner};
use super::body::{Body, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use crate::api::{ChangeReceipt, ImportVariablesRequest, SetVariableRequest, UpdateVariableRequest, VariableItem};
use crate::model::id::EnvironmentId;
use crate::model::limits::{MAX_VARIABLE_BYTES, MAX_VARIABLES};
use crate::secrets::variable_owner;
use crate::storage::Variable;

const REDACTED: &str = "<redacted>";
const MAX_NAME_CHARS: usize = 256;

fn not_found() -> ApiError {
    ApiError::not_found("Environment variable not found")
}

/// The environment that the path names, which must be the caller's. Who is in a branch may name its
/// parent instead, and means the branch.
async fn open(server: &Server, caller: &Caller, slug: &str) -> Result<EnvironmentId> {
    let named = server.auth.environment(slug).await?;
    if caller.environment.branch.as_ref().is_some_and(|branch| branch.parent == named.id) {
        return Ok(caller.environment.id);
    }
    if named.id != caller.environment.id && !caller.is_admin {
        return Err(ApiError::forbidden("the key belongs to another environment"));
    }
    Ok(named.id)
}

fn shown(server: &Server, environment: EnvironmentId, variable: Variable) -> Result<VariableItem> {
    let Variable { name, sealed, is_secret } = variable;
    let value = match is_secret {
        true => REDACTED.into(),
        false => server.server_key.open(&sealed, &variable_owner(environment, &name))?,
    };
    Ok(VariableItem { name, value, is_secret })
}

/// Seals and stores variables, all or none.
async fn set(
    server: &Server,
    environment: EnvironmentId,
    values: Vec<(String, String)>,
    is_secret: bool,
    replace: bool,
) -> Result<Json<ChangeReceipt>> {
    let mut variables = Vec::with_capacity(values.len());
    for (name, value) in values {
        check(&name, &value)?;
        let sealed = server.server_key.seal(&value, &variable_owner(environment, &name));
        variables.push(Variable { name, sealed, is_secret });
    }
    if !server.storage.set_variables(environment, variables, replace, MAX_VARIABLES).await? {
        return Err(ApiError::unprocessable("an environment can have 500 variables at most"));
    }
    json(ChangeReceipt { success: true })
}

fn check(name: &str, value: &str) -> Result<()> {
    let good =
        |(place, byte): (usize, u8)| byte.is_ascii_alphabetic() || byte == b'_' || (place > 0 && byte.is_ascii_digit());
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.bytes().enumerate().all(good) {
        return Err(ApiError::bad_request(
            "a variable's name must have 1 to 256 of A-Z a-z 0-9 _ and not begin with a digit",
        ));
    }
    if value.len() > MAX_VARIABLE_BYTES || value.contains('\0') {
        return Err(ApiError::bad_request("a variable's value can have 64 KiB at most, without NUL characters"));
    }
    Ok(())
}

/// The variables of an environment. The values of secret ones are not shown.
#[utoipa::path(
    get, path = "/api/v1/projects/{project}/envvars/{environment}", tag = "Environment variables",
    responses((status = 200, body = Vec<VariableItem>, description = "The variables"), ReadErrors),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug)): Segments<(String, String)>,
) -> Result<Json<Vec<VariableItem>>> {
    let environment = open(&server, &caller, &slug).await?;
    let variables = server.storage.variables(environment).await?;
    let shown: Result<_> = variables.into_iter().map(|variable| shown(&server, environment, variable)).collect();
    json(shown?)
}

/// Sets a variable.
#[utoipa::path(
    post, path = "/api/v1/projects/{project}/envvars/{environment}", tag = "Environment variables",
    request_body = SetVariableRequest,
    responses((status = 200, body = ChangeReceipt, description = "It is set"), ChangeErrors),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug)): Segments<(String, String)>,
    Body(body): Body<SetVariableRequest>,
) -> Result<Json<ChangeReceipt>> {
    let environment = open(&server, &caller, &slug).await?;
    set(&server, environment, vec![(body.name, body.value)], body.is_secret, true).await
}

/// Sets many variables, all or none.
#[utoipa::path(
    post, path = "/api/v1/projects/{project}/envvars/{environment}/import", tag = "Environment variables",
    request_body = ImportVariablesRequest,
    responses((status = 200, body = ChangeReceipt, description = "They are set"), ChangeErrors),
)]
pub(super) async fn import(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug)): Segments<(String, String)>,
    Body(body): Body<ImportVariablesRequest>,
) -> Result<Json<ChangeReceipt>> {
    let environment = open(&server, &caller, &slug).await?;
    set(&server, environment, body.variables.into_iter().collect(), body.is_secret, body.r#override).await
}

async fn find(server: &Server, environment: EnvironmentId, name: &str) -> Result<Variable> {
    let variables = server.storage.variables(environment).await?;
    variables.into_iter().find(|variable| variable.name == name).ok_or_else(not_found)
}

/// A variable. The value of a secret one is not shown.
#[utoipa::path(
    get, path = "/api/v1/projects/{project}/envvars/{environment}/{name}", tag = "Environment variables",
    responses((status = 200, body = VariableItem, description = "The variable"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug, name)): Segments<(String, String, String)>,
) -> Result<Json<VariableItem>> {
    let environment = open(&server, &caller, &slug).await?;
    json(shown(&server, environment, find(&server, environment, &name).await?)?)
}

/// Changes the value of a variable. A secret one stays secret.
#[utoipa::path(
    put, path = "/api/v1/projects/{project}/envvars/{environment}/{name}", tag = "Environment variables",
    request_body = UpdateVariableRequest,
    responses((status = 200, body = ChangeReceipt, description = "It is changed"), ChangeErrors),
)]
pub(super) async fn update(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug, name)): Segments<(String, String, String)>,
    Body(body): Body<UpdateVariableRequest>,
) -> Result<Json<ChangeReceipt>> {
    let environment = open(&server, &caller, &slug).await?;
    let is_secret = find(&server, environment, &name).await?.is_secret;
    set(&server, environment, vec![(name, body.value)], is_secret, true).await
}

/// Deletes a variable.
#[utoipa::path(
    delete, path = "/api/v1/projects/{project}/envvars/{environment}/{name}", tag = "Environment variables",
    responses((status = 200, body = ChangeReceipt, description = "It is deleted"), ChangeErrors),
)]
pub(super) async fn delete(
    State(server): State<Arc<Server>>,
    Owner(caller): Owner,
    Segments((_, slug, name)): Segments<(String, String, String)>,
) -> Result<Json<ChangeReceipt>> {
    let environment = open(&server, &caller, &slug).await?;
    if !server.storage.delete_variable(environment, name).await? {
        return Err(not_found());
    }
    json(ChangeReceipt { success: true })
}

// The only door to the server: typed requests of the public JSON API, as its OpenAPI document
// describes it. Adds the environment and the CSRF token; turns every failure into an `ApiFailure`
// with a text for people. Keeps no key: the session is a cookie that scripts cannot read.

import { parseJson } from './exact';
import type { paths as Paths } from './schema';
import type { Loose } from './types';

type Method = 'get' | 'post' | 'put' | 'delete';

type PathOf<M extends Method> = {
  [P in keyof Paths]: Paths[P] extends Record<M, infer O> ? ([O] extends [undefined] ? never : P) : never;
}[keyof Paths] &
  string;

type Operation<P extends keyof Paths, M extends Method> = Paths[P] extends Record<M, infer O> ? O : never;
type Json<C> = C extends { content: { 'application/json': infer T } } ? T : undefined;
type Responses<O> = O extends { responses: infer R } ? R : never;
type Answer<P extends keyof Paths, M extends Method> = {
  [S in keyof Responses<Operation<P, M>>]: S extends 200 | 201 | 202 | 204 ? Json<Responses<Operation<P, M>>[S]> : never;
}[keyof Responses<Operation<P, M>>];
type BodyOf<O> = O extends { requestBody?: infer B } ? Json<NonNullable<B>> : undefined;
type QueryOf<O> = O extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never;
type Segments<P extends string> = P extends `${string}{${infer Name}}${infer Rest}` ? Name | Segments<Rest> : never;

interface RequestOptions<P extends keyof Paths & string, M extends Method> {
  path?: Record<Segments<P>, string>;
  query?: Partial<QueryOf<Operation<P, M>>> | Record<string, string | undefined>;
  body?: Loose<BodyOf<Operation<P, M>>>;
  /** Body as JSON text, where it must reach the server as it was written. */
  bodyText?: string;
  /** The slug of an environment other than the one that is looked at. */
  environment?: string | undefined;
  signal?: AbortSignal;
}

/** A request that did not succeed. `message` says what happened, for people. */
export class ApiFailure extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0: no answer came. */
    readonly status: number,
    readonly details: readonly string[] = [],
  ) {
    super(message);
  }
}

/** What every request carries; the session sets it. */
export const context = {
  environment: undefined as string | undefined,
  csrfToken: undefined as string | undefined,
  /** Called when the server no longer knows the session. */
  onUnauthorized: () => {},
};

export function get<P extends PathOf<'get'>>(path: P, options: RequestOptions<P, 'get'> = {}) {
  return send<Answer<P, 'get'>>('get', path, options);
}

export function post<P extends PathOf<'post'>>(path: P, options: RequestOptions<P, 'post'> = {}) {
  return send<Answer<P, 'post'>>('post', path, options);
}

export function put<P extends PathOf<'put'>>(path: P, options: RequestOptions<P, 'put'> = {}) {
  return send<Answer<P, 'put'>>('put', path, options);
}

export function del<P extends PathOf<'delete'>>(path: P, options: RequestOptions<P, 'delete'> = {}) {
  return send<Answer<P, 'delete'>>('delete', path, options);
}

interface AnyOptions {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  bodyText?: string;
  environment?: string | undefined;
  signal?: AbortSignal;
}

/** A change is refused with 403 where another tab has begun a new session: its token is taken, once. */
async function send<T>(method: Method, template: string, options: AnyOptions): Promise<T> {
  try {
    return await sendOnce<T>(method, template, options);
  } catch (error) {
    const isRefused = error instanceof ApiFailure && error.status === 403 && method !== 'get';
    if (!isRefused || !(await hasNewToken())) throw error;
    return await sendOnce<T>(method, template, options);
  }
}

async function hasNewToken(): Promise<boolean> {
  const former = context.csrfToken;
  try {
    context.csrfToken = (await sendOnce<{ csrfToken: string }>('get', '/api/v1/session', {})).csrfToken;
  } catch {
    return false;
  }
  return context.csrfToken !== former;
}

async function sendOnce<T>(method: Method, template: string, options: AnyOptions): Promise<T> {
  const headers: Record<string, string> = {};
  const environment = options.environment ?? context.environment;
  if (environment) headers['x-dacapo-environment'] = environment;
  if (method !== 'get' && context.csrfToken) headers['x-csrf-token'] = context.csrfToken;
  const body = options.bodyText ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
  if (body !== undefined) headers['content-type'] = 'application/json';
  const init: RequestInit = { method: method.toUpperCase(), headers, credentials: 'same-origin' };
  if (body !== undefined) init.body = body;
  if (options.signal) init.signal = options.signal;
  let response: Response;
  let text: string;
  try {
    response = await fetch(urlOf(template, options), init);
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiFailure('The server does not answer. Check that it runs and that you are connected.', 0);
  }
  if (!response.ok) {
    if (response.status === 401) context.onUnauthorized();
    throw failure(response.status, text);
  }
  if (text === '') return undefined as T;
  try {
    return parseJson(text) as T;
  } catch {
    throw new ApiFailure('What answered is no Dacapo server: its answer is not JSON.', response.status);
  }
}

/** The address of a request; also for links that the browser opens itself. */
export function urlOf(template: string, options: Pick<AnyOptions, 'path' | 'query'>): string {
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(options.path?.[name] ?? ''));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  return query.size > 0 ? `${path}?${query}` : path;
}

function failure(status: number, text: string): ApiFailure {
  try {
    const body = JSON.parse(text) as { error?: unknown; details?: unknown };
    if (typeof body.error === 'string') {
      const details = Array.isArray(body.details) ? body.details.filter((item) => typeof item === 'string') : [];
      return new ApiFailure(sentence(body.error), status, details);
    }
  } catch {
    // Not JSON: a proxy answered, perhaps.
  }
  return new ApiFailure(`The server answered with status ${status}.`, status);
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

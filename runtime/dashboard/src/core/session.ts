// Who is signed in, and which environment is looked at. The admin key passes through `signIn` once
// and is not kept; afterwards a cookie stands for it.

import { computed, effect, signal } from '@preact/signals';
import { ApiFailure, context, del, get, post } from '../api/client';
import type { EnvironmentItem } from '../api/types';
import { forgetAnswers } from './query';
import { pathTo, segments } from './router';
import { recall, remember } from './storage';

type SessionState = 'unknown' | 'signed-out' | 'signed-in' | 'unreachable';

export const session = signal<SessionState>('unknown');
/** Of the server, as it says itself. */
export const serverVersion = signal<string | undefined>(undefined);
export const environments = signal<EnvironmentItem[]>([]);

/** The slug in the address, if the server knows it. */
export const environment = computed(() => {
  const slug = segments.value[0];
  return environments.value.find((item) => item.slug === slug);
});

/** The slug of the environment that was looked at last. */
export function lastEnvironment(): string | undefined {
  const known = environments.value.map((item) => item.slug);
  const last = recall('environment');
  return last && known.includes(last) ? last : known[0];
}

/** The path of a page in the environment of the address. */
export function pathIn(...parts: string[]): string {
  return pathTo(environment.value?.slug ?? lastEnvironment() ?? 'dev', ...parts.filter((part) => part !== ''));
}

effect(() => {
  context.environment = environment.value?.slug;
  if (environment.value) remember('environment', environment.value.slug);
});

context.onUnauthorized = () => {
  if (session.peek() === 'signed-in') session.value = 'signed-out';
};

/** Looks whether the browser has a session. */
export async function findSession(): Promise<void> {
  try {
    // Both at once: who has no session gets neither.
    const [found, known] = await Promise.all([get('/api/v1/session'), get('/admin/v1/environments')]);
    begin(found);
    environments.value = known.data;
    session.value = 'signed-in';
  } catch (error) {
    session.value = error instanceof ApiFailure && error.status === 401 ? 'signed-out' : 'unreachable';
  }
}

function begin(found: { csrfToken: string; version: string }): void {
  context.csrfToken = found.csrfToken;
  serverVersion.value = found.version;
}

/** Trades the admin key for a session. Throws `ApiFailure`. */
export async function signIn(adminKey: string): Promise<void> {
  const made = await post('/api/v1/session', { body: { adminKey } });
  begin(made);
  await loadEnvironments();
  session.value = 'signed-in';
}

/** Ends the session, here and on the server. */
export async function signOut(): Promise<void> {
  await del('/api/v1/session');
  context.csrfToken = undefined;
  environments.value = [];
  forgetAnswers();
  session.value = 'signed-out';
}

/** Reads the environments again. */
export async function loadEnvironments(): Promise<void> {
  environments.value = (await get('/admin/v1/environments')).data;
}

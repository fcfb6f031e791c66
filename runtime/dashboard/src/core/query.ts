// Answers of the server as a component sees them: loading, there, failed, and asked for again while
// the tab is visible. An answer that was seen before is shown at once and then renewed.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { ApiFailure } from '../api/client';

/** How many times as long as an answer took it rests before it is asked for again, so that slow ones are asked for less. */
const REST = 5;
/** The first and the longest wait after a failure that may pass; each is twice the one before. */
const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 30_000;
/** Answers that are kept for going back and forth. */
const MAX_KEPT = 60;
const kept = new Map<string, unknown>();

function keep(key: string, answer: unknown): void {
  kept.delete(key);
  kept.set(key, answer);
  const oldest = kept.keys().next();
  if (kept.size > MAX_KEPT && !oldest.done) kept.delete(oldest.value);
}

/** Drops every kept answer: another person may sign in. */
export function forgetAnswers(): void {
  kept.clear();
}

/** The queries that are on the page now. */
const asked = new Set<{ key: string; ask: () => void }>();

/** Asks again whatever is on the page and has `part` in its key: something has changed it. */
export function renew(part: string): void {
  for (const known of kept.keys()) if (known.includes(part)) kept.delete(known);
  for (const { key, ask } of asked) if (key.includes(part)) ask();
}

export interface Query<T> {
  data: T | undefined;
  error: ApiFailure | undefined;
  isLoading: boolean;
  /** Asks again now. */
  reload: () => void;
}

interface QueryOptions<T> {
  /**
   * Milliseconds until it is asked again; `undefined`: never. Nothing is asked while the tab is hidden.
   * What has one is asked again after a failure that may pass, too.
   */
  every?: (data: T) => number | undefined;
  /** Whether the answer to the former key stays until that to the new one is there. */
  keepsOld?: boolean;
  /** Whether the answer to a key never changes: then it is asked for once. */
  isFixed?: boolean;
}

/** No answer, too many requests or a fault of the server: another time it may succeed. */
function mayPass({ status }: ApiFailure): boolean {
  return status === 0 || status === 429 || status >= 500;
}

/** Asks `load` whenever `key` changes; without a key, nothing. */
export function useQuery<T>(
  key: string | undefined,
  load: (signal: AbortSignal) => Promise<T>,
  options: QueryOptions<T> = {},
): Query<T> {
  const [, redraw] = useState(0);
  const state = useRef<{ key: string | undefined; data: T | undefined; error: ApiFailure | undefined }>({
    key: undefined,
    data: undefined,
    error: undefined,
  });
  const again = useRef(() => {});
  const latest = useRef({ load, options });
  latest.current = { load, options };
  if (state.current.key !== key) {
    const known = key === undefined ? undefined : (kept.get(key) as T | undefined);
    state.current = { key, data: known ?? (options.keepsOld ? state.current.data : undefined), error: undefined };
  }

  useEffect(() => {
    if (key === undefined || (latest.current.options.isFixed && kept.has(key))) return;
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isDue = false;
    let failures = 0;
    const later = (data: T, tookMs: number) => {
      const every = latest.current.options.every?.(data);
      if (every !== undefined) timer = setTimeout(look, Math.max(every, tookMs * REST));
    };
    const retry = (error: ApiFailure) => {
      if (!latest.current.options.every || !mayPass(error)) return;
      timer = setTimeout(look, Math.min(FIRST_RETRY_MS * 2 ** failures++, MAX_RETRY_MS));
    };
    const look = () => {
      if (document.hidden) isDue = true;
      else void ask();
    };
    const ask = async () => {
      clearTimeout(timer);
      isDue = false;
      const from = performance.now();
      try {
        const data = await latest.current.load(abort.signal);
        if (abort.signal.aborted) return;
        keep(key, data);
        state.current = { key, data, error: undefined };
        failures = 0;
        later(data, performance.now() - from);
      } catch (error) {
        if (abort.signal.aborted) return;
        state.current = { ...state.current, error: error as ApiFailure };
        retry(error as ApiFailure);
      }
      redraw((count) => count + 1);
    };
    const shown = () => {
      if (!document.hidden && isDue) void ask();
    };
    again.current = () => void ask();
    const entry = { key, ask: again.current };
    asked.add(entry);
    document.addEventListener('visibilitychange', shown);
    void ask();
    return () => {
      asked.delete(entry);
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', shown);
    };
  }, [key]);

  const { data, error } = state.current;
  return {
    data,
    error,
    isLoading: key !== undefined && data === undefined && error === undefined,
    reload: () => again.current(),
  };
}

// One change at a time: runs it, keeps the button busy meanwhile, and says how it ended.

import { useState } from 'preact/hooks';
import type { ApiFailure } from '../api/client';
import { toast } from './toast';

export interface Action<A extends unknown[]> {
  isBusy: boolean;
  error: ApiFailure | undefined;
  run: (...args: A) => Promise<boolean>;
  clear: () => void;
}

/** `done` is said when it succeeded. A failure is said, too, unless `quiet`: then read `error`. */
export function useAction<A extends unknown[]>(
  work: (...args: A) => Promise<string | undefined | void>,
  quiet = false,
): Action<A> {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<ApiFailure | undefined>();
  const run = async (...args: A) => {
    setBusy(true);
    setError(undefined);
    try {
      const done = await work(...args);
      if (done) toast(done);
      return true;
    } catch (caught) {
      setError(caught as ApiFailure);
      if (!quiet) toast((caught as Error).message, 'error');
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { isBusy, error, run, clear: () => setError(undefined) };
}

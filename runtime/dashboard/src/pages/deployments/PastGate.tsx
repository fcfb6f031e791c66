// The word before a promotion by hand: the operator's own is not stopped by the gate.

import { environment } from '../../core/session';

export function PastGate() {
  const { slug, backtestPolicy } = environment.value ?? {};
  if (!backtestPolicy) return null;
  return (
    <p class="failure">
      {slug} has a gate: a version is to stand a backtest before it is made current. Doing it here passes that gate.
    </p>
  );
}

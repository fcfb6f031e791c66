// Two whole texts side by side, unless a browser would choke on them.

import { bytes } from '../../core/format';
import { Diff } from '../../ui/Editor';

/** Of both together. */
const MAX_CHARS = 1_048_576;

export function WholeDiff({ label, then, now }: { label: string; then: string; now: string }) {
  if (then.length + now.length > MAX_CHARS)
    return <p class="faint">More than {bytes(MAX_CHARS)} together: too long to be shown side by side.</p>;
  return <Diff label={label} before={then} after={now} />;
}

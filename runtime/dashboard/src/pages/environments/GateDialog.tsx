// The gate of an environment: what a version must stand before a deployment makes it current.

import { useState } from 'preact/hooks';
import { put } from '../../api/client';
import type { EnvironmentItem } from '../../api/types';
import { loadEnvironments } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import { TextField } from '../../ui/Field';

export function GateDialog({ item, onClose }: { item: EnvironmentItem; onClose: () => void }) {
  const policy = item.backtestPolicy ?? undefined;
  const [isOn, setOn] = useState(policy !== undefined);
  const [last, setLast] = useState(String(policy?.last ?? 1_000));
  const [allow, setAllow] = useState(String(policy?.allow ?? 0));
  const [sample, setSample] = useState(policy?.sample ? String(policy.sample) : '');
  const save = async () => {
    // What cannot be set here stays as it was set over the API.
    const changed = {
      ...policy,
      last: Number(last),
      allow: Number(allow),
      ...(sample ? { sample: Number(sample) } : { sample: undefined }),
    };
    const bodyText = JSON.stringify(isOn ? { policy: changed } : {});
    await put('/admin/v1/environments/{environment}/backtest-policy', { path: { environment: item.slug }, bodyText });
    await loadEnvironments();
    return isOn ? 'Deployments are made current after a clean backtest only.' : 'Deployments are made current at once.';
  };
  const number = { type: 'number', min: 1, max: 100_000, required: true } as const;
  return (
    <Confirm title={`Gate of ${item.slug}`} verb="Save" run={save} onClose={onClose}>
      <label class="row">
        <input type="checkbox" checked={isOn} onChange={(event) => setOn(event.currentTarget.checked)} />
        New versions have to pass a backtest before they become current
      </label>
      {isOn && (
        <div class="fields">
          <TextField label="On the newest runs" value={last} onInput={setLast} input={number} />
          <TextField
            label="Of these, a sample of"
            value={sample}
            onInput={setSample}
            hint="Empty: all"
            input={{ ...number, required: false }}
          />
          <TextField label="Differences that are allowed" value={allow} onInput={setAllow} input={{ ...number, min: 0 }} />
        </div>
      )}
      <p class="faint">Promoting by hand goes on as ever.</p>
    </Confirm>
  );
}

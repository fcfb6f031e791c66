// A backtest: which version is tried, on which old runs, against what, and what follows if it is clean.

import { useState } from 'preact/hooks';
import { post } from '../../api/client';
import type { BacktestRequest } from '../../api/types';
import { useAction } from '../../core/action';
import { counted } from '../../core/format';
import { useDeployments } from '../../core/known';
import { navigate } from '../../core/router';
import { pathIn } from '../../core/session';
import { Dialog } from '../../ui/Dialog';
import { SelectField, TextField } from '../../ui/Field';
import { Refusal } from '../../ui/states';
import type { Picked } from '../runs/Actions';
import { bulkFilter, describe } from '../runs/filter';

interface BacktestDialogProps {
  /** Left out: the newest runs of the version's tasks. */
  picked?: Picked;
  /** The version that is offered first. */
  version?: string;
  onClose: () => void;
}

interface Draft {
  version: string;
  against: string;
  mode: 'sandbox' | 'shadow';
  unmatched: 'block' | 'fail';
  children: 'recorded' | 'execute';
  last: string;
  sample: string;
  promotes: boolean;
  allow: string;
}

export function BacktestDialog({ picked, version, onClose }: BacktestDialogProps) {
  const deployments = useDeployments();
  const newest = version ?? deployments?.[0]?.version ?? '';
  const [draft, setDraft] = useState<Draft>({
    version: version ?? '',
    against: 'recorded',
    mode: 'sandbox',
    unmatched: 'block',
    children: 'recorded',
    last: '1000',
    sample: '',
    promotes: false,
    allow: '0',
  });
  const change = (changes: Partial<Draft>) => setDraft({ ...draft, ...changes });
  const chosen = draft.version || newest;
  const names = picked && 'runs' in picked;
  const action = useAction(async () => {
    const made = await post('/api/v1/backtests', { body: requestOf({ ...draft, version: chosen }, picked) });
    onClose();
    navigate(pathIn('backtests', made.id));
  }, true);
  const submit = (event: Event) => {
    event.preventDefault();
    void action.run();
  };
  const versions = (deployments ?? []).map(
    (item) =>
      [
        item.version,
        `${item.version} ${item.component}, ${item.isCurrent ? 'current' : item.deployedAt ? 'promoted before' : 'never promoted'}`,
      ] as const,
  );
  const number = { type: 'number', min: 1, max: 100_000 } as const;
  return (
    <Dialog title="Backtest a version" onClose={onClose} wide>
      <form class="stack" onSubmit={submit}>
        <p>
          {whichRuns(picked)} are replayed on the version in the sandbox, and compared with what happened. No effect leaves the
          server.
        </p>
        <div class="fields roomy">
          <SelectField label="Version" value={chosen} onChange={(to) => change({ version: to })} options={versions} />
          <SelectField
            label="Compared with"
            value={draft.against}
            onChange={(against) => change({ against })}
            options={[['recorded', 'what the runs did'], ['current', 'the current version'], ...versions]}
          />
          <SelectField
            label="Mode"
            value={draft.mode}
            onChange={(mode) => change({ mode: mode as Draft['mode'] })}
            options={[
              ['sandbox', 'Sandbox: nothing goes out'],
              ['shadow', 'Shadow: unknown GET and HEAD go out'],
            ]}
          />
          <SelectField
            label="Calls that are not on record"
            value={draft.unmatched}
            onChange={(unmatched) => change({ unmatched: unmatched as Draft['unmatched'] })}
            options={[
              ['block', 'see an error, as if offline'],
              ['fail', 'fail the replay at once'],
            ]}
          />
          <SelectField
            label="Child runs"
            value={draft.children}
            onChange={(children) => change({ children: children as Draft['children'] })}
            options={[
              ['recorded', 'give their recorded results'],
              ['execute', 'are executed in the sandbox, too'],
            ]}
          />
          {!names && <TextField label="Newest runs" value={draft.last} onInput={(last) => change({ last })} input={number} />}
          {!names && (
            <TextField
              label="Of these, a sample of"
              value={draft.sample}
              onInput={(sample) => change({ sample })}
              hint="Empty: all"
              input={number}
            />
          )}
        </div>
        <label class="row">
          <input
            type="checkbox"
            checked={draft.promotes}
            onChange={(event) => change({ promotes: event.currentTarget.checked })}
          />
          Make the version current if it is clean
        </label>
        {draft.promotes && (
          <div class="fields">
            <TextField
              label="Differences that are allowed"
              value={draft.allow}
              onInput={(allow) => change({ allow })}
              input={{ type: 'number', min: 0 }}
            />
          </div>
        )}
        <Refusal error={action.error} />
        <div class="actions">
          <button type="button" onClick={onClose}>
            Leave it
          </button>
          <button class="primary" disabled={action.isBusy || chosen === ''}>
            {action.isBusy ? 'Starting …' : 'Start'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function whichRuns(picked: Picked | undefined): string {
  if (!picked) return 'The newest runs of its tasks that have ended';
  return 'runs' in picked ? counted(picked.runs.length, 'selected run') : `Runs that match (${describe(picked.all)})`;
}

function requestOf(draft: Draft, picked: Picked | undefined): BacktestRequest {
  const names = picked && 'runs' in picked;
  return {
    version: draft.version,
    against: draft.against,
    mode: draft.mode,
    options: { unmatched: draft.unmatched, children: draft.children },
    ...(names ? { runIds: picked.runs.map((run) => run.id) } : {}),
    ...(picked && !names ? { filter: bulkFilter(picked.all) } : {}),
    ...(!names && draft.last ? { last: Number(draft.last) } : {}),
    ...(!names && draft.sample ? { sample: Number(draft.sample) } : {}),
    ...(draft.promotes ? { gate: { allow: Number(draft.allow) || 0 } } : {}),
  } as BacktestRequest;
}

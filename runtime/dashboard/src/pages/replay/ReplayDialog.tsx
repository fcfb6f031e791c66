// The replay of one run: what it is given, on which version, and whether it may have effects.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import type { RunDetails } from '../../api/types';
import { useAction } from '../../core/action';
import { useQuery } from '../../core/query';
import { navigate, pathTo } from '../../core/router';
import { environment, environments, pathIn } from '../../core/session';
import { toast } from '../../core/toast';
import { Confirm, Dialog } from '../../ui/Dialog';
import { objectComplaint } from '../../ui/Editor';
import { EditorField } from '../../ui/EditorField';
import { SelectField } from '../../ui/Field';
import { More } from '../../ui/More';
import { RunOptions } from '../../ui/RunOptions';
import { Loaded, Refusal } from '../../ui/states';
import { replayInSandbox, searchOf, type Asked } from './reports';
import { bodyOf, draftOf, isSandboxed, payloadComplaint, type Draft, type Mode } from './request';
import { noteOf, useVersions } from './versions';
import '../../styles/replay.css';

const AS_THE_SOURCE = { queue: 'as the source run', concurrencyKey: 'as the source run', machine: 'as the source run' };

export function ReplayDialog({ id, onClose }: { id: string; onClose: () => void }) {
  const slug = environment.value?.slug;
  const found = useQuery(slug && `${slug}/run/${id}`, (signal) => get('/api/v3/runs/{run}', { path: { run: id }, signal }));
  if (!found.data) {
    return (
      <Dialog title="Replay" onClose={onClose} wide>
        <Loaded query={found}>{() => null}</Loaded>
      </Dialog>
    );
  }
  return <ReplayForm run={found.data} onClose={onClose} />;
}

const MODES: readonly (readonly [mode: Mode, label: string, text: string])[] = [
  ['live', 'Live', 'A new run with all its effects: requests go out again, mails are sent again, runs are triggered.'],
  [
    'sandbox',
    'Sandbox',
    'No effect leaves the server: requests are answered from the recording of this run, and the difference is shown.',
  ],
  ['shadow', 'Shadow', 'As in the sandbox, but reading requests (GET, HEAD) that the recording does not answer go out.'],
  [
    'from-failure',
    'Go on from the failure',
    'A new run that is given the recorded answers up to where this one failed, and goes on live from there.',
  ],
];

function ReplayForm({ run, onClose }: { run: RunDetails; onClose: () => void }) {
  const slug = environment.value?.slug ?? '';
  const [original] = useState(() => draftOf(run, slug));
  const [draft, setDraft] = useState(original);
  const [isAsking, setAsking] = useState(false);
  const [isLeaving, setLeaving] = useState(false);
  const to = draft.environment;
  const versions = useVersions(to, run.taskIdentifier, draft.version);
  const change = (changes: Partial<Draft>) => setDraft((before) => ({ ...before, ...changes }));
  const changeMode = (mode: Mode) => {
    // A run goes on from its failure where it failed.
    const isElsewhere = mode === 'from-failure' && draft.environment !== slug;
    change(isElsewhere ? { mode, environment: slug, version: '' } : { mode });
  };
  const isHarmless = isSandboxed(draft.mode);
  const hasFailed = run.isCompleted && run.isFailed && !run.isCancelled;
  const complaint = payloadComplaint(draft, original);
  const metadataComplaint = objectComplaint(draft.metadata);
  const isReady = !complaint && (isHarmless || !metadataComplaint);
  const target = environments.value.find((item) => item.slug === to);

  const environmentOf = to === slug ? '' : to;
  const sandboxed = async (mode: Asked['mode']) => {
    const isEdited = draft.payload !== original.payload;
    const asked = { run: run.id, mode, version: draft.version, environment: environmentOf, isEdited };
    await replayInSandbox(asked, bodyOf(draft, original));
    navigate(pathIn('runs', run.id, 'replays', mode) + searchOf(asked));
  };
  const live = async () => {
    const query = environmentOf ? { environment: environmentOf } : {};
    const answer = await post('/api/v1/runs/{run}/replay', { path: { run: run.id }, query, bodyText: bodyOf(draft, original) });
    const isCached = 'isCached' in answer && answer.isCached;
    toast(isCached ? 'The idempotency key found an older run: this is it.' : 'The replay was triggered.');
    if ('id' in answer) navigate(pathTo(to, 'runs', answer.id));
  };
  const replay = async () => {
    await (isSandboxed(draft.mode) ? sandboxed(draft.mode) : live());
    onClose();
  };
  const action = useAction(replay, true);
  const submit = (event: Event) => {
    event.preventDefault();
    if (!isReady || action.isBusy) return;
    if (target?.type === 'PRODUCTION' && !isHarmless) setAsking(true);
    else void action.run();
  };
  const isChanged = draft.payload !== original.payload || draft.metadata !== original.metadata;
  const leave = () => (isChanged ? setLeaving(true) : onClose());
  return (
    <Dialog
      title={`Replay ${run.taskIdentifier}`}
      onClose={leave}
      wide
      footer={
        <>
          <code class="faint">{run.id}</code>
          <span class="actions">
            <button type="button" onClick={leave}>
              Leave it
            </button>
            <button class="primary" form="replay" disabled={!isReady || action.isBusy}>
              {action.isBusy ? 'Replaying …' : isHarmless ? 'Replay and compare' : 'Replay live'}
            </button>
          </span>
        </>
      }
    >
      <form id="replay" class="stack" onSubmit={submit}>
        <ModePicker mode={draft.mode} hasFailed={hasFailed} onChange={changeMode} />
        <div class="fields roomy">
          <SelectField
            label="Version"
            value={draft.version}
            onChange={(version) => change({ version })}
            options={versions.options}
          />
          {draft.mode !== 'from-failure' && (
            <SelectField
              label="Environment"
              value={draft.environment}
              onChange={(slug) => change({ environment: slug, version: '' })}
              options={environments.value.map((item) => [item.slug, item.slug] as const)}
            />
          )}
        </div>
        {draft.mode === 'from-failure' ? (
          <p class="faint">The payload stays as it was: the recorded answers belong to it.</p>
        ) : (
          <EditorField
            label="Payload"
            initial={draft.payload}
            onInput={(payload) => change({ payload })}
            schema={versions.schema}
            note={complaint ?? noteOf(versions)}
            isWrong={complaint !== undefined}
          />
        )}
        {!isHarmless && (
          <More title="Metadata, tags, queue and other options">
            <EditorField
              label="Metadata"
              initial={draft.metadata}
              onInput={(metadata) => change({ metadata })}
              note={metadataComplaint ?? 'Left as it is, the new run gets what this one was triggered with.'}
              isWrong={metadataComplaint !== undefined}
            />
            <RunOptions
              empty={AS_THE_SOURCE}
              values={draft.options}
              onChange={(changes) => change({ options: { ...draft.options, ...changes } })}
            />
          </More>
        )}
        <Refusal error={action.error} />
      </form>
      {isAsking && (
        <Confirm
          title={`Replay live in ${to}?`}
          verb="Replay live"
          isDangerous
          typed={run.taskIdentifier}
          run={replay}
          onClose={() => setAsking(false)}
        >
          <p>This is production. The new run has all its effects, and those of this one may have happened already.</p>
        </Confirm>
      )}
      {isLeaving && (
        <Confirm
          title="Leave this replay?"
          verb="Discard"
          otherwise="Go on editing"
          isDangerous
          run={async () => onClose()}
          onClose={() => setLeaving(false)}
        >
          <p>What you have written is not kept.</p>
        </Confirm>
      )}
    </Dialog>
  );
}

function ModePicker({ mode, hasFailed, onChange }: { mode: Mode; hasFailed: boolean; onChange: (mode: Mode) => void }) {
  const offered = MODES.filter(([name]) => name !== 'from-failure' || hasFailed);
  return (
    <fieldset class="modes">
      <legend>Mode</legend>
      {offered.map(([name, label, text]) => (
        <label key={name}>
          <input type="radio" name="mode" checked={mode === name} autofocus={mode === name} onChange={() => onChange(name)} />
          <span>
            <b>{label}</b> <span class="faint">{text}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

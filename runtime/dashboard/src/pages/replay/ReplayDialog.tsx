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
import { jsonComplaint, objectComplaint } from '../../ui/Editor';
import { EditorField } from '../../ui/EditorField';
import { SelectField } from '../../ui/Field';
import { More } from '../../ui/More';
import { RunOptions } from '../../ui/RunOptions';
import { Loaded, Refusal } from '../../ui/states';
import { bodyOf, draftOf, keepEdited, type Draft, type Mode } from './request';
import { noteOf, useVersions } from './versions';
import '../../styles/replay.css';

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
  const versions = useVersions(draft.environment, run.taskIdentifier, draft.version);
  const change = (changes: Partial<Draft>) => setDraft((before) => ({ ...before, ...changes }));
  const isSandboxed = draft.mode === 'sandbox' || draft.mode === 'shadow';
  const hasFailed = run.isCompleted && run.isFailed && !run.isCancelled;
  const complaint = draft.payload.trim() === '' ? undefined : jsonComplaint(draft.payload);
  const metadataComplaint = objectComplaint(draft.metadata);
  const isReady = !complaint && (isSandboxed || !metadataComplaint);
  const target = environments.value.find((item) => item.slug === draft.environment);

  const replay = async () => {
    const query = draft.environment === slug ? {} : { environment: draft.environment };
    const answer = await post('/api/v1/runs/{run}/replay', { path: { run: run.id }, query, bodyText: bodyOf(draft, original) });
    if ('verdict' in answer) {
      const isEdited = draft.payload !== original.payload;
      if (isEdited) keepEdited(answer);
      const version = draft.version ? `version=${draft.version}` : '';
      const edited = isEdited ? 'payload=edited' : '';
      const search = [version, edited].filter(Boolean).join('&');
      navigate(pathIn('runs', run.id, 'replays', draft.mode) + (search && `?${search}`));
    } else {
      toast(answer.isCached ? 'The idempotency key found an older run: this is it.' : 'The replay was triggered.');
      navigate(pathTo(draft.environment, 'runs', answer.id));
    }
    onClose();
  };
  const action = useAction(replay, true);
  const submit = (event: Event) => {
    event.preventDefault();
    if (!isReady || action.isBusy) return;
    if (target?.type === 'PRODUCTION' && !isSandboxed) setAsking(true);
    else void action.run();
  };
  return (
    <Dialog
      title={`Replay ${run.taskIdentifier}`}
      onClose={onClose}
      wide
      footer={
        <>
          <code class="faint">{run.id}</code>
          <span class="actions">
            <button type="button" onClick={onClose}>
              Leave it
            </button>
            <button class="primary" form="replay" disabled={!isReady || action.isBusy}>
              {action.isBusy ? 'Replaying …' : isSandboxed ? 'Replay and compare' : 'Replay live'}
            </button>
          </span>
        </>
      }
    >
      <form id="replay" class="stack" onSubmit={submit}>
        <ModePicker mode={draft.mode} hasFailed={hasFailed} onChange={(mode) => change({ mode })} />
        <div class="fields roomy">
          <SelectField
            label="Version"
            value={draft.version}
            onChange={(version) => change({ version })}
            options={versions.options}
          />
          {draft.mode === 'live' && (
            <SelectField
              label="Environment"
              value={draft.environment}
              onChange={(to) => change({ environment: to, version: '' })}
              options={environments.value.map((item) => [item.slug, item.slug] as const)}
            />
          )}
        </div>
        {draft.mode === 'from-failure' ? (
          <p class="faint">The payload stays as it was: the recorded answers belong to it.</p>
        ) : (
          <EditorField
            label="Payload"
            initial={original.payload}
            onInput={(payload) => change({ payload })}
            schema={versions.schema}
            note={complaint ?? noteOf(versions)}
            isWrong={complaint !== undefined}
          />
        )}
        {!isSandboxed && (
          <More title="Metadata, tags, queue and other options">
            <EditorField
              label="Metadata"
              initial={original.metadata}
              onInput={(metadata) => change({ metadata })}
              note={metadataComplaint ?? 'Left as it is, the new run gets what this one was triggered with.'}
              isWrong={metadataComplaint !== undefined}
            />
            <RunOptions
              emptyQueue="as the source run"
              values={draft.options}
              onChange={(changes) => change({ options: { ...draft.options, ...changes } })}
            />
          </More>
        )}
        <Refusal error={action.error} />
      </form>
      {isAsking && (
        <Confirm
          title={`Replay live in ${draft.environment}?`}
          verb="Replay live"
          isDangerous
          typed={run.taskIdentifier}
          run={replay}
          onClose={() => setAsking(false)}
        >
          <p>This is production. The new run has all its effects, and those of this one may have happened already.</p>
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

// The options of a new run, wherever one is made: what is left empty is up to the task.

import { MACHINES, useKnownQueues } from '../core/known';
import { SelectField, TextField } from './Field';

export interface RunOptionValues {
  tags: string;
  queue: string;
  concurrencyKey: string;
  machine: string;
  maxAttempts: string;
  maxDuration: string;
  delay: string;
  ttl: string;
  priority: string;
  idempotencyKey: string;
}

export const NO_OPTIONS: RunOptionValues = {
  tags: '',
  queue: '',
  concurrencyKey: '',
  machine: '',
  maxAttempts: '',
  maxDuration: '',
  delay: '',
  ttl: '',
  priority: '',
  idempotencyKey: '',
};

/** Texts of the form as the API takes them; what is empty is left out. */
export function givenOptions(values: RunOptionValues) {
  const text = (name: keyof RunOptionValues) => (values[name].trim() ? { [name]: values[name].trim() } : {});
  const number = (name: keyof RunOptionValues) => (values[name].trim() ? { [name]: Number(values[name]) } : {});
  return {
    ...text('concurrencyKey'),
    ...text('machine'),
    ...text('delay'),
    ...text('ttl'),
    ...text('idempotencyKey'),
    ...number('maxAttempts'),
    ...number('maxDuration'),
    ...number('priority'),
  };
}

/** Tags as they are written in one field, by lines or commas. */
export function tagList(text: string): string[] {
  return text
    .split(/[\n,]/)
    .map((tag) => tag.trim())
    .filter(Boolean);
}

interface RunOptionsProps {
  values: RunOptionValues;
  onChange: (changes: Partial<RunOptionValues>) => void;
  /** What an empty queue, key or machine means. */
  empty: { queue: string; concurrencyKey: string; machine: string };
}

export function RunOptions({ values, onChange, empty }: RunOptionsProps) {
  const { queues } = useKnownQueues();
  const number = { type: 'number', min: 0, step: 1 } as const;
  return (
    <div class="fields">
      <TextField label="Tags" value={values.tags} onInput={(tags) => onChange({ tags })} hint="Separated by commas, 10 at most" />
      <TextField
        label="Queue"
        value={values.queue}
        onInput={(queue) => onChange({ queue })}
        hint={`Empty: ${empty.queue}`}
        input={{ list: 'known-queues' }}
      />
      <datalist id="known-queues">
        {queues.map((queue) => (
          <option key={queue} value={queue} />
        ))}
      </datalist>
      <TextField
        label="Concurrency key"
        value={values.concurrencyKey}
        onInput={(concurrencyKey) => onChange({ concurrencyKey })}
        hint={`Empty: ${empty.concurrencyKey}`}
      />
      <SelectField
        label="Machine"
        value={values.machine}
        onChange={(machine) => onChange({ machine })}
        options={[['', empty.machine], ...MACHINES.map((name) => [name, name] as const)]}
      />
      <TextField
        label="Attempts"
        value={values.maxAttempts}
        onInput={(maxAttempts) => onChange({ maxAttempts })}
        input={{ ...number, min: 1, max: 1000 }}
      />
      <TextField
        label="CPU seconds"
        value={values.maxDuration}
        onInput={(maxDuration) => onChange({ maxDuration })}
        hint="Of one attempt"
        input={{ ...number, min: 1, max: 86400 }}
      />
      <TextField label="Delay" value={values.delay} onInput={(delay) => onChange({ delay })} hint="10m, 2h, or a date" />
      <TextField label="TTL" value={values.ttl} onInput={(ttl) => onChange({ ttl })} hint="Longest time in the queue" />
      <TextField
        label="Priority"
        value={values.priority}
        onInput={(priority) => onChange({ priority })}
        hint="Seconds of head start"
        input={number}
      />
      <TextField
        label="Idempotency key"
        value={values.idempotencyKey}
        onInput={(idempotencyKey) => onChange({ idempotencyKey })}
        hint="Finds an older run with it"
      />
    </div>
  );
}

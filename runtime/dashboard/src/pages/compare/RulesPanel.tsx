// The noise rules of a task, or of every task, edited where their effect is seen.

import { useState } from 'preact/hooks';
import { formatJson, parseJson } from '../../api/exact';
import type { TaskReplayRules } from '../../api/types';
import { useAction } from '../../core/action';
import { saveText } from '../../core/file';
import { changeRules, useRules, type Rules } from '../../core/rules';
import { environment } from '../../core/session';
import { Editor, objectComplaint } from '../../ui/Editor';
import { Section } from '../../ui/Page';
import { Loaded, Refusal } from '../../ui/states';

const EVERY_TASK = '*';
const EXAMPLE = `{
  "ignore-output": ["$..updatedAt"],
  "ignore-effects": ["https://metrics.example.com/"],
  "relative-tolerance": 0.01
}`;

interface RulesPanelProps {
  task: string;
  onSaved?: () => void;
}

export function RulesPanel({ task, onSaved }: RulesPanelProps) {
  const [owner, setOwner] = useState(task);
  const found = useRules();
  const rules = found.data?.rules ?? {};
  const isEmpty = Object.keys(rules).length === 0;
  return (
    <Section
      title="Noise rules"
      beside={
        <>
          <select aria-label="Of which task" value={owner} onChange={(event) => setOwner(event.currentTarget.value)}>
            <option value={task}>of {task}</option>
            <option value={EVERY_TASK}>of every task</option>
          </select>
          <button
            type="button"
            disabled={isEmpty}
            onClick={() => saveText('dacapo-replay.json', formatJson(rules))}
            title="The same rules for the command line and for CI"
          >
            Download
          </button>
        </>
      }
    >
      <Loaded query={found}>
        {(stored) => <RulesForm key={keyOf(stored.rules, owner)} owner={owner} rules={stored.rules} onSaved={onSaved} />}
      </Loaded>
    </Section>
  );
}

function keyOf(rules: Rules, owner: string): string {
  return owner + formatJson(rules[owner] ?? {});
}

interface RulesFormProps {
  owner: string;
  rules: Rules;
  onSaved: (() => void) | undefined;
}

function RulesForm({ owner, rules, onSaved }: RulesFormProps) {
  const own = rules[owner] ?? {};
  const stored = Object.keys(own).length > 0 ? formatJson(own) : '';
  const [text, setText] = useState(stored);
  const complaint = objectComplaint(text);
  const isChanged = text.trim() !== stored.trim();
  const save = useAction(async () => {
    await changeRules(owner, () => (text.trim() === '' ? {} : (parseJson(text) as TaskReplayRules)));
    onSaved?.();
    return 'The rules were saved.';
  }, true);
  const submit = (event: Event) => {
    event.preventDefault();
    if (isChanged && !complaint) void save.run();
  };
  return (
    <form class="field" onSubmit={submit}>
      <Editor label="Noise rules" initial={stored} onInput={setText} />
      <small class={complaint ? 'wrong' : 'faint'} role={complaint ? 'alert' : undefined}>
        {complaint ??
          `What comparisons overlook: stored for ${environment.value?.slug}, and counted in every replay, backtest and gate there.`}
      </small>
      <Refusal error={save.error} />
      <div class="actions">
        <button disabled={!isChanged || complaint !== undefined || save.isBusy}>
          {save.isBusy ? 'Saving …' : 'Save and compare again'}
        </button>
      </div>
      {stored === '' && (
        <details class="example">
          <summary>An example</summary>
          <pre class="panel">{EXAMPLE}</pre>
        </details>
      )}
    </form>
  );
}

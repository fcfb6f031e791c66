// The noise rules of a task, edited where their effect is seen.

import { useState } from 'preact/hooks';
import { formatJson, parseJson } from '../../api/exact';
import type { TaskReplayRules } from '../../api/types';
import { storedRules } from '../../core/rules';
import { saveText } from '../../core/file';
import { Editor, objectComplaint } from '../../ui/Editor';
import { Section } from '../../ui/Page';

interface RulesPanelProps {
  task: string;
  rules: TaskReplayRules;
  onSave: (rules: TaskReplayRules) => void;
}

const EXAMPLE = `{
  "ignore-output": ["$..updatedAt"],
  "ignore-effects": ["https://metrics.example.com/"],
  "relative-tolerance": 0.01
}`;

export function RulesPanel({ task, rules, onSave }: RulesPanelProps) {
  const stored = Object.keys(rules).length > 0 ? formatJson(rules) : '';
  return <RulesForm key={stored} task={task} stored={stored} onSave={onSave} />;
}

function RulesForm({ task, stored, onSave }: { task: string; stored: string; onSave: (rules: TaskReplayRules) => void }) {
  const [text, setText] = useState(stored);
  const complaint = objectComplaint(text);
  const isChanged = text.trim() !== stored.trim();
  const save = () => onSave(text.trim() === '' ? {} : (parseJson(text) as TaskReplayRules));
  return (
    <Section
      title={`Noise rules of ${task}`}
      beside={
        <>
          <button
            type="button"
            disabled={stored === ''}
            onClick={() => saveText('dacapo-replay.json', formatJson(storedRules()))}
          >
            Save as dacapo-replay.json
          </button>
          <button type="button" disabled={!isChanged || complaint !== undefined} onClick={save}>
            Save and compare again
          </button>
        </>
      }
    >
      <div class="field">
        <Editor label="Noise rules" initial={stored} onInput={setText} />
        <small class={complaint ? 'wrong' : 'faint'}>
          {complaint ??
            'What comparisons of this task overlook. Kept in this browser, for this environment; the file dacapo-replay.json gives the same to the command line and to CI.'}
        </small>
      </div>
      {stored === '' && (
        <details class="example">
          <summary>An example</summary>
          <pre class="panel">{EXAMPLE}</pre>
        </details>
      )}
    </Section>
  );
}

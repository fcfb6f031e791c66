// A JSON editor as a field of a form: its name, and what is wrong with what is in it.

import { useState } from 'preact/hooks';
import { counted } from '../core/format';
import { Editor } from './Editor';

interface EditorFieldProps {
  label: string;
  initial: string;
  onInput: (text: string) => void;
  /** A JSON Schema: what it has against the text is said, and left to the server to refuse. */
  schema?: unknown;
  note: string | undefined;
  isWrong: boolean;
}

export function EditorField({ label, initial, onInput, schema, note, isWrong }: EditorFieldProps) {
  const [complaints, setComplaints] = useState<string[]>([]);
  const [first, ...others] = complaints;
  const isRefused = first !== undefined && !isWrong;
  return (
    <div class="field">
      <span>{label}</span>
      <Editor label={label} initial={initial} onInput={onInput} schema={schema} onComplaints={setComplaints} />
      {isRefused ? (
        <small class="wrong" role="alert">
          The schema of the task does not allow this. {first}
          {others.length > 0 && ` And ${counted(others.length, 'complaint')} more.`}
        </small>
      ) : (
        note && (
          <small class={isWrong ? 'wrong' : 'faint'} role={isWrong ? 'alert' : undefined}>
            {note}
          </small>
        )
      )}
    </div>
  );
}

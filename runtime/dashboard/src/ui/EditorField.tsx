// A JSON editor as a field of a form: its name, and what is wrong with what is in it.

import { Editor } from './Editor';

interface EditorFieldProps {
  label: string;
  initial: string;
  onInput: (text: string) => void;
  schema?: unknown;
  note: string | undefined;
  isWrong: boolean;
}

export function EditorField({ label, initial, onInput, schema, note, isWrong }: EditorFieldProps) {
  return (
    <div class="field">
      <span>{label}</span>
      <Editor label={label} initial={initial} onInput={onInput} schema={schema} />
      {note && (
        <small class={isWrong ? 'wrong' : 'faint'} role={isWrong ? 'alert' : undefined}>
          {note}
        </small>
      )}
    </div>
  );
}

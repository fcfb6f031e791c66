// All shortcuts that work on the page that is shown.

import { areLettersOn, shortcuts, switchLetters } from '../core/shortcuts';
import { Dialog } from '../ui/Dialog';

const NAMES: Record<string, string> = { ArrowDown: '↓', ArrowUp: '↑', Enter: '⏎', Escape: 'Esc' };

export function Help({ onClose }: { onClose: () => void }) {
  const groups = Map.groupBy(shortcuts.value, (shortcut) => shortcut.group);
  return (
    <Dialog title="Keyboard" onClose={onClose} wide>
      <label class="row">
        <input type="checkbox" checked={areLettersOn.value} onChange={(event) => switchLetters(event.currentTarget.checked)} />
        Letters and signs are shortcuts
      </label>
      <div class="help">
        {[...groups].map(([group, items]) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>
              {items.map((item) => (
                <div key={item.keys}>
                  <dt>
                    {item.keys.split(/[ +]/).map((key) => (
                      <kbd key={key}>{NAMES[key] ?? key}</kbd>
                    ))}
                  </dt>
                  <dd>{item.label}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>In dialogs</h3>
          <dl>
            <div>
              <dt>
                <kbd>Esc</kbd>
              </dt>
              <dd>Close</dd>
            </div>
            <div>
              <dt>
                <kbd>Ctrl</kbd>
                <kbd>⏎</kbd>
              </dt>
              <dd>Send the form, also from an editor</dd>
            </div>
          </dl>
        </section>
      </div>
    </Dialog>
  );
}

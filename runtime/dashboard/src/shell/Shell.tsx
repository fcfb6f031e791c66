// The frame around every page: where to go, which environment, which look, and who leaves.

import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useAction } from '../core/action';
import { environment, environments, pathIn, serverVersion, signOut } from '../core/session';
import { navigate, pathTo, segments } from '../core/router';
import { useShortcuts } from '../core/shortcuts';
import { nextTheme, theme } from '../core/theme';
import { Guard } from '../ui/Guard';
import { Icon } from '../ui/Icon';
import { Help } from './Help';
import { GROUPS, PAGES } from './pages';

export function Shell({ children }: { children: ComponentChildren }) {
  const [isHelp, setHelp] = useState(false);
  const [isMenu, setMenu] = useState(false);
  const here = segments.value.join('/');
  useEffect(() => {
    setMenu(false);
    // What had the focus is gone with the page it was on.
    if (document.activeElement === document.body) document.getElementById('content')?.focus({ preventScroll: true });
  }, [here]);
  useShortcuts('Everywhere', {
    '?': ['Show all shortcuts', () => setHelp(true)],
    'shift+t': ['Change the look: system, light, dark', nextTheme],
  });
  useShortcuts('Go to', goTo());
  return (
    <div class="shell">
      <a class="skip" href="#content" onClick={skip}>
        Skip to the content
      </a>
      <aside class={isMenu ? 'sidebar open' : 'sidebar'}>
        <div class="brand">
          <a href={pathIn()}>Dacapo</a>
          <button type="button" class="quiet menu-button" aria-expanded={isMenu} onClick={() => setMenu(!isMenu)}>
            <Icon name="menu" />
            Menu
          </button>
        </div>
        <EnvironmentSwitch />
        <div class="sidebar-rest">
          <Navigation />
          <Foot onHelp={() => setHelp(true)} />
        </div>
      </aside>
      <main id="content" tabIndex={-1}>
        <Guard key={here}>{children}</Guard>
      </main>
      {isHelp && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

function skip(event: Event) {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

function goTo(): Record<string, [string, () => void]> {
  return Object.fromEntries(PAGES.map((page) => [`g ${page.key}`, [page.label, () => navigate(pathIn(page.path))]]));
}

function EnvironmentSwitch() {
  const known = environments.value;
  const slug = environment.value?.slug ?? '';
  const change = (to: string) => navigate(pathTo(to, ...segments.peek().slice(1, 2)));
  return (
    <label class={`environment-switch ${environment.value?.type === 'PRODUCTION' ? 'production' : ''}`}>
      <span class="visually-hidden">Environment</span>
      <select value={slug} onChange={(event) => change(event.currentTarget.value)}>
        {slug === '' && <option value="">Choose …</option>}
        {known.map((item) => (
          <option key={item.id} value={item.slug}>
            {item.slug}
          </option>
        ))}
      </select>
    </label>
  );
}

function Navigation() {
  const at = segments.value[1] ?? '';
  return (
    <nav aria-label="Pages">
      {GROUPS.map(([title, pages]) => (
        <div key={title} class="nav-group">
          <h2>{title}</h2>
          <ul>
            {pages.map((page) => (
              <li key={page.path}>
                <a href={pathIn(page.path)} aria-current={at === page.path ? 'page' : undefined}>
                  <Icon name={page.icon} />
                  {page.label}
                </a>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </nav>
  );
}

function Foot({ onHelp }: { onHelp: () => void }) {
  const leave = useAction(signOut);
  return (
    <div class="sidebar-foot">
      <button
        type="button"
        class="quiet"
        onClick={nextTheme}
        aria-label={`Look: ${theme.value}. Change it`}
        title={`Look: ${theme.value}`}
      >
        <Icon name="theme" />
      </button>
      <button type="button" class="quiet" onClick={onHelp} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">
        <Icon name="keyboard" />
      </button>
      <button
        type="button"
        class="quiet"
        onClick={() => void leave.run()}
        disabled={leave.isBusy}
        aria-label="Sign out"
        title="Sign out"
      >
        <Icon name="leave" />
      </button>
      {serverVersion.value && <small class="faint">{serverVersion.value}</small>}
    </div>
  );
}

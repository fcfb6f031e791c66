// The frame of a page: its name, where it belongs, what can be done on it; and its parts.

import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { lastAt, navigate } from '../core/router';
import { useShortcuts } from '../core/shortcuts';

interface PageProps {
  title: string;
  /** What the browser's tab says, where that is more than the title. */
  tab?: string;
  /** The page above this one. */
  up?: readonly [href: string, label: string];
  beside?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

export function Page({ title, tab, up, beside, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${tab ?? title} · Dacapo`;
  }, [tab, title]);
  const above = up && lastAt(up[0]);
  useShortcuts('Everywhere', above ? { u: ['Up, to the page above', () => navigate(above)] } : {});
  return (
    <>
      <header class="page-header">
        <div class="page-title">
          {up && (
            <a class="up" href={above}>
              {up[1]}
            </a>
          )}
          <h1>{title}</h1>
          {beside}
        </div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

interface SectionProps {
  title: string;
  beside?: ComponentChildren;
  children: ComponentChildren;
}

export function Section({ title, beside, children }: SectionProps) {
  return (
    <section class="section" aria-label={title}>
      <header>
        <h2>{title}</h2>
        {beside && <div class="beside">{beside}</div>}
      </header>
      {children}
    </section>
  );
}

/** Names and values, one a row. */
export function Facts({ items }: { items: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

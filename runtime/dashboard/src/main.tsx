// Where the page starts.

import { render } from 'preact';
import { App } from './app';
import './core/theme';
import { findSession } from './core/session';
import './styles/tokens.css';
import './styles/base.css';
import './styles/shell.css';
import './styles/parts.css';
import './styles/states.css';
import './styles/dialog.css';
import './styles/json.css';
import './styles/table.css';

const root = document.getElementById('app');
// What stands in the file is seen while the scripts come; it makes room for the page itself.
root?.replaceChildren();
if (root) render(<App />, root);
void findSession();

// Holds a server of steer to what OpenAI's client for JavaScript expects:
// node client.mjs URL. It fails with what is wrong.
import assert from 'node:assert/strict';
import OpenAI from 'openai';

const url = process.argv[2];
const story = 'Anna had a red kite. One day, Anna met Leo at the bridge.';
const client = new OpenAI({ baseURL: url + '/v1', apiKey: 'key' });
const chat = {
  model: 'demo', messages: [{ role: 'user', content: story }], max_completion_tokens: 12, temperature: 0, n: 3, seed: 7, logprobs: true, top_logprobs: 2,
  steering_choices: [null, { edits: [{ vector: 'mood', multiplier: 0.7, tokens: 'response' }] }, { preset: 'grumpy' }],
};

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ['demo', 'demo@grumpy', 'demo@none']);

const whole = await client.chat.completions.create(chat);
assert.equal(new Set(whole.choices.map((c) => c.message.content)).size, 3);
assert.equal(whole.choices[1].steer.edits[0].response_tokens, 11);
assert.equal(whole.choices[0].logprobs.content.length, 12);
assert.equal(whole.usage.completion_tokens, 36);

const texts = ['', '', ''];
let usage = null;
for await (const chunk of await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })) {
  for (const c of chunk.choices) texts[c.index] += c.delta.content ?? '';
  usage = chunk.usage;
}
assert.deepEqual(texts, whole.choices.map((c) => c.message.content));
assert.equal(usage.completion_tokens, 36);

const completion = await client.completions.create({ model: 'demo@grumpy', prompt: story, max_tokens: 4, temperature: 0, echo: true, logprobs: 1 });
assert.ok(completion.choices[0].text.startsWith(story));
assert.equal(completion.choices[0].logprobs.tokens.length, 21);

await assert.rejects(client.chat.completions.create({ ...chat, n: 1, steering_choices: [{ edits: [{ vector: 'mood', layers: [77] }] }] }), (e) => {
  assert.ok(e instanceof OpenAI.BadRequestError);
  assert.equal(e.param, 'steering_choices[0].edits[0].layers[0]');
  return true;
});
await assert.rejects(new OpenAI({ baseURL: url + '/v1', apiKey: 'other' }).models.list(), OpenAI.AuthenticationError);

const flaky = new OpenAI({ baseURL: url + '/flaky/v1', apiKey: 'key' });
assert.equal((await flaky.chat.completions.create(chat)).choices.length, 3);
await assert.rejects(flaky.chat.completions.create(chat, { maxRetries: 0 }), OpenAI.InternalServerError);

export { startRedis, type TestServer as RedisServer } from '@oneflight/testkit';

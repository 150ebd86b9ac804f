#include "brain/client_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace glovebox::brain {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

Result<std::vector<ClientEvent>> check(const std::string& events,
                                       ClientEvents what = ClientEvents::sent) {
  return check_client_events(boost::json::parse(events).as_array(), what);
}
ClientEvent good(const std::string& event) {
  auto checked = check("[" + event + "]");
  EXPECT_TRUE(checked) << event << ": " << checked.error().what;
  return checked ? checked->at(0) : ClientEvent();
}
// What is stored, without its id.
std::string stored(const std::string& event) {
  ClientEvent checked = good(event);
  auto object = boost::json::parse(checked.json).as_object();
  EXPECT_EQ(object.at("id").as_string(), checked.id);
  EXPECT_THAT(checked.id, StartsWith("sevt_01"));
  boost::json::object rest;  // erase() would change the order
  for (const auto& [key, value] : object)
    if (key != "id") rest[key] = value;
  return boost::json::serialize(rest);
}
std::string message(const std::string& content) {
  return str(R"({"type":"user.message","content":)", content, "}");
}
std::string result(const std::string& content) {
  return str(R"({"type":"user.tool_result","tool_use_id":"sevt_1","content":)", content, "}");
}
const std::string kText = R"({"type":"text","text":"hi"})";

TEST(ClientEvents, AMessageIsStoredAsItIsKnown) {
  EXPECT_EQ(
      boost::json::parse(stored(
          R"({"type":"user.message","content":[{"type":"text","text":"hi","cache_control":1}],"new":2})")),
      boost::json::parse(R"({"type":"user.message","content":[{"type":"text","text":"hi"}]})"));
  EXPECT_EQ(
      boost::json::parse(stored(message(R"("hi")"))),
      boost::json::parse(R"({"type":"user.message","content":[{"type":"text","text":"hi"}]})"));
}

TEST(ClientEvents, ImagesAndDocumentsComeInAllTheirForms) {
  for (
      std::string block :
      {R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}})",
       R"({"type":"image","source":{"type":"url","url":"https://example.com/a.png"}})",
       R"({"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"aGkh"}})",
       R"({"type":"document","source":{"type":"url","url":"http://example.com/a.pdf"},"title":"t"})",
       R"({"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"},"context":"c"})"}) {
    std::string event = message("[" + block + "]");
    EXPECT_EQ(boost::json::parse(stored(event)), boost::json::parse(event));
  }
}

TEST(ClientEvents, AResultMayHoldAllKindsOrNothing) {
  EXPECT_THAT(stored(R"({"type":"user.tool_result","tool_use_id":"sevt_1"})"),
              HasSubstr(R"("content":[],"is_error":false})"));
  EXPECT_THAT(
      stored(
          R"({"type":"user.tool_result","tool_use_id":"sevt_1","is_error":null,"content":null})"),
      HasSubstr(R"("content":[],"is_error":false})"));
  EXPECT_THAT(stored(result(R"([{"type":"text","text":""}])")), HasSubstr(R"("text":"")"));
  EXPECT_THAT(stored(result(R"([{"type":"text","text":"a\u0000b"}])")), HasSubstr(R"(a\u0000b)"));
  EXPECT_THAT(
      stored(result(
          R"([{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]}])")),
      HasSubstr(R"("citations":{"enabled":false})"));
  ClientEvent custom =
      good(R"({"type":"user.custom_tool_result","custom_tool_use_id":"sevt_2","is_error":true})");
  EXPECT_EQ(custom.kind, ClientEvent::Kind::custom_result);
  EXPECT_EQ(custom.call, "sevt_2");
}

TEST(ClientEvents, AVerdictIsTakenApart) {
  ClientEvent deny = good(
      R"({"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"deny","deny_message":"no"})");
  EXPECT_FALSE(deny.allow);
  EXPECT_EQ(deny.deny_message, "no");
  EXPECT_EQ(deny.call, "sevt_1");
  EXPECT_TRUE(
      good(R"({"type":"user.tool_confirmation","tool_use_id":"sevt_1","result":"allow"})").allow);
}

struct Bad {
  std::string event;
  std::string error;
};
class Refuses : public testing::TestWithParam<Bad> {};

TEST_P(Refuses, AndNamesTheMember) {
  auto checked = check("[" + message("[" + kText + "]") + "," + GetParam().event + "]");
  ASSERT_FALSE(checked) << GetParam().event;
  EXPECT_EQ(checked.error().code, Code::invalid);
  EXPECT_THAT(checked.error().what, StartsWith(GetParam().error));
}

std::string block(const std::string& one) { return message("[" + one + "]"); }

INSTANTIATE_TEST_SUITE_P(
    ClientEvents, Refuses,
    testing::Values(
        Bad{"7", "events[1]: must be a JSON object"}, Bad{"[]", "events[1]: must be"},
        Bad{"{}", "events[1].type: must be the type"},
        Bad{R"({"type":7})", "events[1].type: must be a string"},
        Bad{R"({"type":"user.teleport"})", "events[1].type: user.teleport is not an event"},
        Bad{R"({"type":"agent.message","content":[]})", "events[1].type: agent.message is not"},
        Bad{R"({"type":"session.status_idle"})", "events[1].type: session.status_idle is not"},
        Bad{R"({"type":"user.define_outcome","description":"d"})",
            "events[1].type: user.define_outcome: outcomes are not available"},
        Bad{R"({"type":"user.message"})", "events[1].content: must be an array"},
        Bad{message("{}"), "events[1].content: must be an array"},
        Bad{message("[]"), "events[1].content: must have at least one"},
        Bad{message(R"("")"), "events[1].content.text: must not be empty"},
        Bad{message("[7]"), "events[1].content[0]: must be a JSON object"},
        Bad{block("{}"), "events[1].content[0].type: must be text, image or document"},
        Bad{block(R"({"type":"redacted"})"), "events[1].content[0].type"},
        Bad{block(R"({"type":"search_result"})"), "events[1].content[0].type"},
        Bad{block(R"({"type":"text"})"), "events[1].content[0].text: must be a string"},
        Bad{block(R"({"type":"text","text":" \n"})"),
            "events[1].content[0].text: must not be empty"},
        Bad{block(R"({"type":"image"})"), "events[1].content[0].source: must be an object"},
        Bad{block(R"({"type":"image","source":[]})"), "events[1].content[0].source"},
        Bad{block(R"({"type":"image","source":{}})"), "events[1].content[0].source.type"},
        Bad{block(R"({"type":"image","source":{"type":"file","file_id":"f"}})"),
            "events[1].content[0].source.type: file: files are not available"},
        Bad{block(R"({"type":"image","source":{"type":"text","data":"x"}})"),
            "events[1].content[0].source.type"},
        Bad{block(R"({"type":"image","source":{"type":"url","url":"file:///etc/passwd"}})"),
            "events[1].content[0].source.url"},
        Bad{block(R"({"type":"image","source":{"type":"url"}})"),
            "events[1].content[0].source.url"},
        Bad{block(
                R"({"type":"image","source":{"type":"base64","media_type":"image/svg+xml","data":"aGk="}})"),
            "events[1].content[0].source.media_type"},
        Bad{block(
                R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk"}})"),
            "events[1].content[0].source.data: must be base64"},
        Bad{block(
                R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":""}})"),
            "events[1].content[0].source.data"},
        Bad{block(R"({"type":"image","source":{"type":"base64","media_type":"image/png"}})"),
            "events[1].content[0].source.data"},
        Bad{block(
                R"({"type":"document","source":{"type":"base64","media_type":"image/png","data":"aGk="}})"),
            "events[1].content[0].source.media_type"},
        Bad{block(
                R"({"type":"document","source":{"type":"text","media_type":"text/html","data":"x"}})"),
            "events[1].content[0].source.media_type"},
        Bad{block(R"({"type":"document","source":{"type":"text","data":"x"},"title":7})"),
            "events[1].content[0].title"},
        Bad{R"({"type":"user.interrupt","session_thread_id":7})", "events[1].session_thread_id"},
        Bad{R"({"type":"user.tool_confirmation","result":"allow"})", "events[1].tool_use_id"},
        Bad{R"({"type":"user.tool_confirmation","tool_use_id":"","result":"allow"})",
            "events[1].tool_use_id"},
        Bad{R"({"type":"user.tool_confirmation","tool_use_id":"s"})", "events[1].result"},
        Bad{R"({"type":"user.tool_confirmation","tool_use_id":"s","result":"maybe"})",
            "events[1].result"},
        Bad{R"({"type":"user.tool_confirmation","tool_use_id":"s","result":true})",
            "events[1].result"},
        Bad{R"({"type":"user.tool_confirmation","tool_use_id":"s","result":"allow","deny_message":"x"})",
            "events[1].deny_message"},
        Bad{R"({"type":"user.tool_result"})", "events[1].tool_use_id"},
        Bad{R"({"type":"user.tool_result","tool_use_id":7})", "events[1].tool_use_id"},
        Bad{R"({"type":"user.custom_tool_result","tool_use_id":"s"})",
            "events[1].custom_tool_use_id"},
        Bad{R"({"type":"user.tool_result","tool_use_id":"s","is_error":"no"})",
            "events[1].is_error"},
        Bad{result("{}"), "events[1].content"},
        Bad{result(R"([{"type":"redacted"}])"),
            "events[1].content[0].type: must be text, image, document or search_result"},
        Bad{result(R"([{"type":"search_result","title":"t","content":[]}])"),
            "events[1].content[0].source"},
        Bad{result(
                R"([{"type":"search_result","source":"s","title":"t","content":[{"type":"image"}]}])"),
            "events[1].content[0].content[0].type"},
        Bad{result(
                R"([{"type":"search_result","source":"s","title":"t","content":[],"citations":{"enabled":1}}])"),
            "events[1].content[0].citations.enabled"},
        Bad{R"({"type":"system.message","content":[{"type":"image"}]})",
            "events[1].content[0].type: must be text"},
        Bad{R"({"type":"system.message","content":[]})", "events[1].content"}));

TEST(ClientEvents, ASystemMessageIsLastAndFollowsAMessageOrAResult) {
  const std::string system = R"({"type":"system.message","content":"be brief"})";
  EXPECT_TRUE(check("[" + message(R"("hi")") + "," + system + "]"));
  EXPECT_TRUE(check("[" + result("[]") + "," + system + "]"));
  EXPECT_FALSE(check("[" + system + "]"));
  EXPECT_FALSE(check("[" + message(R"("hi")") + "," + system + "," + message(R"("ho")") + "]"));
  EXPECT_FALSE(check(R"([{"type":"user.interrupt"},)" + system + "]"));
  EXPECT_FALSE(check("[" + message(R"("hi")") + "," + system + "," + system + "]"));
}

TEST(ClientEvents, ThereAreLimits) {
  auto many = [](std::size_t n, const std::string& one) {
    std::string all = "[";
    for (std::size_t i = 0; i < n; ++i) all += (i ? "," : "") + one;
    return all + "]";
  };
  EXPECT_TRUE(check(many(100, message(R"("x")"))));
  EXPECT_FALSE(check(many(101, message(R"("x")"))));
  EXPECT_FALSE(check("[]"));
  EXPECT_TRUE(check("[" + message(many(1000, kText)) + "]"));
  EXPECT_FALSE(check("[" + message(many(1001, kText)) + "]"));
  EXPECT_THAT(*check("[]", ClientEvents::initial), IsEmpty());
  EXPECT_TRUE(check(many(50, message(R"("x")")), ClientEvents::initial));
  auto over = check(many(51, message(R"("x")")), ClientEvents::initial);
  ASSERT_FALSE(over);
  EXPECT_THAT(over.error().what, HasSubstr("initial_events: at most 50"));
  auto kind = check(R"([{"type":"user.interrupt"}])", ClientEvents::initial);
  ASSERT_FALSE(kind);
  EXPECT_THAT(kind.error().what, StartsWith("initial_events[0].type"));
}

}  // namespace
}  // namespace glovebox::brain
